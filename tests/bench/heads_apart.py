"""What it costs that heads of HydraMesh tell each other of themselves, and how soon they agree
again after a partition; a part of hydramesh.py.

Three heads share a key, and each has 100 workers. Between every two heads is a relay that may cut
the way.
One is cut off from the others until they have lost each other. Then the ways are mended, and it is
measured how long it takes until each head tells the same of all of them, what it did not know
before included; and what they have sent, headers and seals included.
"""

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, resolve
from daiic.wire.keyfile import ClusterKey
from support.links.lossy_relay import Conditions, LossyRelay
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess

CLEAR, CUT = Conditions(largest=1 << 16), Conditions(loss=1.0)
WORKERS = 100
HEADS = 3
OVERHEAD = 57
"""Bytes of a datagram that are not payload: its header, and what sealing adds."""
LOOK = 0.01


class Heads:
    """Three heads, of which the first is cut off; `clients` are of each."""

    def __init__(self, ours: list[HeadProcess], clients: list[ClusterClient]) -> None:
        self.ours = ours
        self.clients = clients
        self.relays: list[LossyRelay] = []

    async def told(self) -> list[list[pb.HeadStatus]]:
        return [list((await client.status()).heads) for client in self.clients]

    async def until_heard(self, counts: list[int]) -> None:
        """Wait until the heads hear so many others, have what they tell, and agree on a master."""
        while True:
            told = await self.told()
            whole = all(one.state == pb.READY for found in told for one in found)
            heard = [len(found) - 1 for found in told]
            if whole and heard == counts and agree(told):
                return
            await asyncio.sleep(LOOK)

    async def sent(self) -> tuple[int, int]:
        """Return how many SYNCs all have sent, and how many bytes those are."""
        messages = bytes_sent = 0
        for head in self.ours:
            messages += int(await head.metric("daiic_head_sync_sent_total"))
            bytes_sent += int(await head.metric("daiic_head_sync_sent_bytes_total"))
        return messages, bytes_sent + OVERHEAD * messages

    def cpu_seconds(self) -> float:
        return sum(head.cpu_seconds() for head in self.ours)


def agree(told: list[list[pb.HeadStatus]]) -> bool:
    """Return whether those that hear each other tell the same of themselves and of each other."""
    own = {found[0].id: found[0] for found in told}
    for found in told:
        if sum(one.master for one in found) != 1:
            return False
        for one in found[1:]:
            said = own[one.id]
            if (one.workers, one.in_flight, one.master) != (
                said.workers,
                said.in_flight,
                said.master,
            ):
                return False
    return True


@contextlib.asynccontextmanager
async def running(kind: heads.Head, *, apart: bool) -> AsyncIterator[Heads]:
    """Run the heads, which know of each other unless they are `apart`."""
    with tempfile.TemporaryDirectory() as folder:
        key, secret = ClusterKey.generate(), Path(folder) / "key"
        key.save(secret)
        async with contextlib.AsyncExitStack() as stack:
            ours: list[HeadProcess] = []
            relays: list[LossyRelay] = []
            for _ in range(HEADS):
                ways = [
                    await stack.enter_async_context(
                        await LossyRelay.start(await resolve(head.address), CLEAR)
                    )
                    for head in ours
                    if not apart
                ]
                relays += ways
                settings = {"peers": [format_address(way.address) for way in ways]}
                head = HeadProcess(kind=kind, cluster_key_file=secret, storage="none", **settings)
                ours.append(await stack.enter_async_context(head))
            # A worker names the heads that it has; here none must learn of another in that way.
            for head in ours:
                for number in range(WORKERS):
                    stub = await WorkerStub.open(
                        [head.address], key=key, worker_id=f"worker-{number:04}", models={}
                    )
                    stack.push_async_callback(stub.close, polite=False)
            clients = [
                await stack.enter_async_context(ClusterClient([head.address], key)) for head in ours
            ]
            together = Heads(ours, clients)
            together.relays = relays
            async with asyncio.timeout(60):
                await together.until_heard([0 if apart else HEADS - 1] * HEADS)
            await asyncio.sleep(5)
            yield together


async def measure_rest(kind: heads.Head, seconds: float) -> None:
    """Print what the heads take while nothing happens but heartbeats, apart and together."""
    cpu: dict[bool, float] = {}
    for apart in (True, False):
        async with running(kind, apart=apart) as together:
            (_, sent), used = await together.sent(), together.cpu_seconds()
            await asyncio.sleep(seconds)
            (_, after), cpu[apart] = await together.sent(), together.cpu_seconds() - used
            if not apart:
                rate = (after - sent) / seconds / HEADS
                each = (cpu[False] - cpu[True]) / seconds / HEADS
                print(
                    f"at rest: each head sends {rate:.0f} bytes/s to {HEADS - 1} others; it takes "
                    f"{cpu[False] / seconds / HEADS:.2%} of a core, {each:+.2%} more than alone"
                )


async def measure_partition(kind: heads.Head, runs: int) -> None:
    """Print how soon the heads agree after a partition, and what that takes."""
    took: list[float] = []
    sent: list[int] = []
    for _ in range(runs):
        async with running(kind, apart=False) as together, asyncio.timeout(120):
            for relay in together.relays[: HEADS - 1]:
                relay.conditions = CUT
            await together.until_heard([0, *[HEADS - 2] * (HEADS - 1)])
            _, before = await together.sent()
            for relay in together.relays:
                relay.conditions = CLEAR
            began = time.perf_counter()
            await together.until_heard([HEADS - 1] * HEADS)
            took.append(time.perf_counter() - began)
            sent.append((await together.sent())[1] - before)
    print(
        f"after a partition: {statistics.median(took):.1f} s until they agree "
        f"(least {min(took):.1f}, most {max(took):.1f}), {statistics.median(sent) / 1e3:.1f} kB"
    )


async def measure_heads(kind: heads.Head, seconds: float, runs: int) -> None:
    """Run both, and print them."""
    print(f"-- {HEADS} heads with {WORKERS} workers that tell each other of themselves")
    await measure_rest(kind, seconds)
    await measure_partition(kind, runs)
