"""A sender that finds the wire's memory full, or has sent much, can wait until some is free."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daiic.wire.events import Event, Unreachable
from daiic.wire.limits import MIB, Limits
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket

NOBODY = ("127.0.0.1", 9)


@asynccontextmanager
async def opened(limits: Limits | None = None) -> AsyncIterator[tuple[MeshSocket, list[Event]]]:
    events: list[Event] = []
    mesh = await MeshSocket.open("127.0.0.1:0", on_events=events.extend, limits=limits)
    try:
        yield mesh, events
    finally:
        await mesh.close(drain=0)


async def test_what_did_not_fit_goes_once_there_is_memory_again() -> None:
    async with opened(Limits(memory=2 * MIB)) as (sender, _), opened() as (receiver, _):
        address = receiver.local_address
        refused = 0
        for _ in range(8):
            while sender.send(address, MessageType.RESULT, bytes(MIB)) is None:
                refused += 1
                await asyncio.wait_for(sender.memory_freed(), 30)
        while sender.buffered_bytes:
            await asyncio.wait_for(sender.memory_freed(), 30)
        assert refused
        assert sender.idle()


async def test_all_who_wait_are_woken_and_one_that_gives_up_disturbs_nobody() -> None:
    async with opened() as (sender, _), opened() as (receiver, _):
        waiting = [asyncio.create_task(sender.memory_freed()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting.pop().cancel()
        sender.send(receiver.local_address, MessageType.RESULT, b"")
        sender.send(receiver.local_address, MessageType.RESULT, b"more than nothing")
        await asyncio.wait_for(asyncio.gather(*waiting), 30)


async def test_memory_of_a_peer_that_is_given_up_or_forgotten_is_free_again() -> None:
    async with opened(Limits(give_up=0.2)) as (sender, events):
        sender.send(NOBODY, MessageType.RESULT, bytes(MIB))
        await asyncio.wait_for(sender.memory_freed(), 30)
        assert any(isinstance(event, Unreachable) for event in events)
        sender.send(NOBODY, MessageType.RESULT, bytes(MIB))
        waiting = asyncio.create_task(sender.memory_freed())
        await asyncio.sleep(0)
        sender.forget(NOBODY)
        await asyncio.wait_for(waiting, 30)
        assert not sender.buffered_bytes


async def test_nobody_is_woken_while_nothing_is_freed() -> None:
    async with opened(Limits(give_up=60.0)) as (sender, _):
        waiting = asyncio.create_task(sender.memory_freed())
        for _ in range(20):
            sender.send(NOBODY, MessageType.RESULT, b"unheard")
            await asyncio.sleep(0.005)
        assert not waiting.done()
        waiting.cancel()
