"""What heads tell of each other, and waiting until they agree."""

import asyncio
from collections.abc import Callable

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess


async def told(head: HeadProcess, key: ClusterKey | None = None) -> list[pb.HeadStatus]:
    """Return what `head` tells of the heads, itself first."""
    async with ClusterClient([head.address], key) as client:
        return list((await client.status()).heads)


async def until(
    head: HeadProcess,
    what: Callable[[list[pb.HeadStatus]], bool],
    key: ClusterKey | None = None,
) -> list[pb.HeadStatus]:
    """Wait until what `head` tells is as asked for; return it."""
    async with asyncio.timeout(PATIENCE):
        while not what(found := await told(head, key)):
            await asyncio.sleep(0.1)
    return found


def hears(count: int) -> Callable[[list[pb.HeadStatus]], bool]:
    """Return whether so many others have told of themselves, and one of all is the master."""

    def are_there(found: list[pb.HeadStatus]) -> bool:
        ready = all(one.state == pb.READY for one in found)
        return ready and len(found) == 1 + count and sum(one.master for one in found) == 1

    return are_there


async def agreed(
    ours: list[HeadProcess], key: ClusterKey | None = None
) -> list[list[pb.HeadStatus]]:
    """Wait until all of these hear each other and have one master; return what each tells."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [await until(head, hears(len(ours) - 1), key) for head in ours]
            if len({one.id for heads in found for one in heads if one.master}) == 1:
                return found
            await asyncio.sleep(0.1)
