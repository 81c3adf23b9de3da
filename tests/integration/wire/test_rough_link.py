"""Real sockets across the lossy relay: everything arrives, once, in bounded memory."""

import asyncio
import errno
import hashlib
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvloop

from daiic.wire.endpoint import Endpoint
from daiic.wire.events import Event, Message, Unreachable
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import MIB, Limits
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp import InsecureBind, MeshSocket
from support.links.lossy_relay import ROUGH, Conditions, LossyRelay

KEY = ClusterKey(bytes(range(32)))


class Station:
    """A socket that keeps what has arrived."""

    mesh: MeshSocket

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.unreachable: list[Unreachable] = []
        self.peak_buffered = 0
        self._news = asyncio.Event()

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Message):
                self.messages.append(event)
            elif isinstance(event, Unreachable):
                self.unreachable.append(event)
        self._news.set()

    async def received(self, count: int, seconds: float) -> None:
        """Wait until `count` messages have arrived; fails after `seconds`."""
        async with asyncio.timeout(seconds):
            while len(self.messages) < count:
                self.peak_buffered = max(self.peak_buffered, self.mesh.buffered_bytes)
                self._news.clear()
                try:
                    await asyncio.wait_for(self._news.wait(), 0.01)
                except TimeoutError:
                    continue


@asynccontextmanager
async def station(
    key: ClusterKey | None = None, limits: Limits | None = None
) -> AsyncIterator[Station]:
    here = Station()
    here.mesh = await MeshSocket.open("127.0.0.1:0", on_events=here.take, key=key, limits=limits)
    try:
        yield here
    finally:
        await here.mesh.close(drain=0)


async def idle(mesh: MeshSocket, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not mesh.idle():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
async def test_64_mib_arrive_whole_in_bounded_memory(key: ClusterKey | None) -> None:
    limits = Limits(memory=72 * MIB)
    payload = os.urandom(64 * MIB)
    async with (
        station(key) as worker,
        station(key, limits) as head,
        await LossyRelay.start(head.mesh.local_address, ROUGH, seed=11) as relay,
    ):
        worker.mesh.send(relay.address, MessageType.RESULT, payload)
        await head.received(1, 60)
        (message,) = head.messages
        assert hashlib.sha256(message.payload).digest() == hashlib.sha256(payload).digest()
        assert head.peak_buffered <= limits.memory
        assert head.mesh.buffered_bytes == 0
        await idle(worker.mesh, 10)
        assert worker.mesh.buffered_bytes == 0
        assert min(relay.tally.lost, relay.tally.reordered, relay.tally.duplicated) > 100


async def test_three_senders_share_memory_for_less_than_two_of_their_messages() -> None:
    limits = Limits(memory=20 * MIB, max_message=16 * MIB)
    async with (
        station(limits=limits) as head,
        station() as a,
        station() as b,
        station() as c,
        await LossyRelay.start(head.mesh.local_address, ROUGH, seed=12) as relay,
    ):
        for worker in (a, b, c):
            worker.mesh.send(relay.address, MessageType.RESULT, os.urandom(12 * MIB))
        await head.received(3, 60)
        assert head.peak_buffered <= limits.memory
        assert head.mesh.counters.dropped_over_memory > 0


async def test_many_small_messages_arrive_exactly_once_both_ways() -> None:
    count = 3000
    async with (
        station(KEY) as client,
        station(KEY) as head,
        await LossyRelay.start(head.mesh.local_address, ROUGH, seed=13) as relay,
    ):
        for number in range(count):
            client.mesh.send(relay.address, MessageType.TASK, b"%d" % number)
        await head.received(count, 60)
        for message in list(head.messages):
            head.mesh.send(message.peer, MessageType.RESULT, b"answer to " + message.payload)
        await client.received(count, 60)
        await asyncio.gather(idle(client.mesh, 20), idle(head.mesh, 20))
        await asyncio.sleep(0.2)
        assert sorted(int(m.payload) for m in head.messages) == list(range(count))
        assert {m.payload for m in client.messages} == {b"answer to %d" % n for n in range(count)}
        assert len(client.messages) == count
        assert not client.unreachable
        # Copies made by the link are replays when sealed, our own are duplicates.
        assert sum(s.mesh.counters.duplicates for s in (client, head)) + sum(
            s.mesh.counters.dropped_replayed for s in (client, head)
        )


async def test_corruption_is_survived_with_a_key() -> None:
    corrupting = replace(ROUGH, corrupt=0.02)
    async with (
        station(KEY) as worker,
        station(KEY) as head,
        await LossyRelay.start(head.mesh.local_address, corrupting, seed=14) as relay,
    ):
        payload = os.urandom(4 * MIB)
        worker.mesh.send(relay.address, MessageType.RESULT, payload)
        await head.received(1, 60)
        assert head.messages[0].payload == payload
        assert head.mesh.counters.dropped_forged > 10


async def test_a_cut_link_is_noticed_and_its_return_used() -> None:
    limits = Limits(give_up=1.0)
    async with (
        station(limits=limits) as client,
        station() as head,
        await LossyRelay.start(head.mesh.local_address, Conditions()) as relay,
    ):
        client.mesh.send(relay.address, MessageType.TASK, b"one")
        await head.received(1, 5)
        relay.conditions = Conditions(loss=1.0)
        sequence = client.mesh.send(relay.address, MessageType.TASK, b"two")
        async with asyncio.timeout(5):
            while not client.unreachable:
                await asyncio.sleep(0.02)
        assert [event.sequences for event in client.unreachable] == [(sequence,)]
        relay.conditions = Conditions()
        client.mesh.send(relay.address, MessageType.TASK, b"three")
        await head.received(2, 5)
        assert head.messages[-1].payload == b"three"


async def test_close_waits_for_what_is_under_way() -> None:
    async with station() as head:
        client = await MeshSocket.open("127.0.0.1:0", on_events=lambda _: None)
        client.send(head.mesh.local_address, MessageType.TASK, bytes(MIB))
        await client.close(drain=10)
        assert len(head.messages) == 1


async def test_close_gives_up_after_the_drain() -> None:
    nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nobody.bind(("127.0.0.1", 0))
    client = await MeshSocket.open("127.0.0.1:0", on_events=lambda _: None)
    client.send(nobody.getsockname(), MessageType.CANCEL, b"")
    began = time.monotonic()
    await client.close(drain=0.2)
    assert time.monotonic() - began >= 0.2
    nobody.close()


class WithoutSegmentation(socket.socket):
    """A socket on a device that cannot cut datagrams apart."""

    refused = 0

    def sendmsg(self, *_: object) -> int:  # type: ignore[override]
        self.refused += 1
        raise OSError(errno.EIO, "Input/output error")


async def test_a_kernel_that_cannot_cut_datagrams_gets_them_one_by_one() -> None:
    async with station() as head:
        sock = WithoutSegmentation(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        endpoint = Endpoint(Limits(), lambda: time.time_ns() // 1000)
        worker = MeshSocket(sock, endpoint, lambda _: None)
        payload = os.urandom(4 * MIB)
        worker.send(head.mesh.local_address, MessageType.RESULT, payload)
        await head.received(1, 30)
        assert head.messages[0].payload == payload
        assert sock.refused == 1
        await worker.close(drain=0)


def test_it_works_on_uvloop_as_well() -> None:
    async def main() -> None:
        async with (
            station(KEY) as worker,
            station(KEY) as head,
            await LossyRelay.start(head.mesh.local_address, ROUGH, seed=16) as relay,
        ):
            problems: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
            worker.mesh.send(relay.address, MessageType.RESULT, bytes(8 * MIB))
            for number in range(500):
                worker.mesh.send(relay.address, MessageType.TASK, b"%d" % number)
                await asyncio.sleep(0)
            await head.received(501, 60)
            await idle(worker.mesh, 10)
            assert not problems

    uvloop.run(main())


async def test_an_open_network_needs_a_key() -> None:
    with pytest.raises(InsecureBind, match="Set cluster_key_file"):
        await MeshSocket.open("0.0.0.0:0", on_events=lambda _: None)
    for options in ({"key": KEY}, {"allow_unauthenticated": True}):
        mesh = await MeshSocket.open("0.0.0.0:0", on_events=lambda _: None, **options)
        await mesh.close()


async def test_ipv6_works() -> None:
    try:
        here = Station()
        here.mesh = await MeshSocket.open("[::1]:0", on_events=here.take)
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    there = await MeshSocket.open("[::1]:0", on_events=lambda _: None)
    there.send(here.mesh.local_address, MessageType.TASK, b"six")
    await here.received(1, 5)
    await there.close()
    await here.mesh.close()


async def test_the_far_side_sees_as_many_clients_as_there_are() -> None:
    async with (
        station() as head,
        station() as a,
        station() as b,
        await LossyRelay.start(head.mesh.local_address, Conditions()) as relay,
    ):
        for client in (a, b):
            client.mesh.send(relay.address, MessageType.TASK, b"hello")
        await head.received(2, 5)
        peers: set[Address] = {message.peer for message in head.messages}
        assert peers == set(relay.client_addresses())
        assert len(peers) == 2
