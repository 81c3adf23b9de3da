"""The relay itself: it does to datagrams what it is asked to, no more and no less."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.tether import tethered
from support.links.lossy_relay import Conditions, LossyRelay, Tally

COUNT = 2000


@pytest.fixture
async def pair() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """A client's socket and a server's."""
    sockets = []
    for _ in range(2):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sockets.append(sock)
    yield sockets[0], sockets[1]
    for sock in sockets:
        sock.close()


async def through(
    pair: tuple[socket.socket, socket.socket], conditions: Conditions, seed: int = 1
) -> tuple[list[bytes], Tally]:
    """Send COUNT numbered datagrams across; return what arrives, in the order of arrival."""
    client, server = pair
    arrived = []
    async with await LossyRelay.start(server.getsockname(), conditions, seed=seed) as relay:
        for number in range(COUNT):
            client.sendto(number.to_bytes(4, "big") + bytes(60), relay.address)
            if number % 20 == 0:
                await asyncio.sleep(0)
        quiet = 0
        while quiet < 20:
            await asyncio.sleep(0.01)
            quiet += 1
            while True:
                try:
                    arrived.append(server.recv(100))
                    quiet = 0
                except BlockingIOError:
                    break
        return arrived, relay.tally


def numbers(datagrams: list[bytes]) -> list[int]:
    return [int.from_bytes(datagram[:4], "big") for datagram in datagrams]


async def test_a_good_link_changes_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    arrived, _ = await through(pair, Conditions())
    assert numbers(arrived) == list(range(COUNT))


async def test_losses_and_duplicates_come_in_the_shares_asked_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    arrived, tally = await through(pair, Conditions(loss=0.2, duplicate=0.1))
    assert 0.15 * COUNT < tally.lost < 0.25 * COUNT
    assert 0.05 * COUNT < tally.duplicated < 0.12 * COUNT
    assert len(set(numbers(arrived))) == COUNT - tally.lost
    assert len(arrived) == COUNT - tally.lost + tally.duplicated


async def test_reordering_needs_no_delay(pair: tuple[socket.socket, socket.socket]) -> None:
    arrived, tally = await through(pair, Conditions(reorder=0.1))
    assert sorted(numbers(arrived)) == list(range(COUNT))
    assert numbers(arrived) != list(range(COUNT))
    assert 0.07 * COUNT < tally.reordered < 0.13 * COUNT


async def test_corruption_keeps_the_length(pair: tuple[socket.socket, socket.socket]) -> None:
    arrived, tally = await through(pair, Conditions(corrupt=0.2))
    changed = sum(
        datagram != number.to_bytes(4, "big") + bytes(60) for number, datagram in enumerate(arrived)
    )
    assert changed == tally.corrupted
    assert 0.15 * COUNT < changed < 0.25 * COUNT
    assert {len(datagram) for datagram in arrived} == {64}


async def test_what_is_too_large_for_the_link_does_not_pass(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    arrived, tally = await through(pair, Conditions(largest=63))
    assert (arrived, tally.too_large) == ([], COUNT)
    arrived, tally = await through(pair, Conditions(largest=64))
    assert (len(arrived), tally.too_large) == (COUNT, 0)


async def test_the_same_seed_gives_the_same_link(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    conditions = Conditions(loss=0.3, corrupt=0.2)
    first, _ = await through(pair, conditions, seed=5)
    again, _ = await through(pair, conditions, seed=5)
    other, _ = await through(pair, conditions, seed=6)
    assert first == again
    assert first != other


async def test_it_runs_as_a_program_and_says_where(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    process = await asyncio.create_subprocess_exec(
        *tethered(
            *(sys.executable, Path(__file__).parents[2] / "support/links/lossy_relay.py"),
            *("--to", f"127.0.0.1:{server.getsockname()[1]}", "--duplicate", "1.0"),
        ),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    host, port = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().split(":")
    client.sendto(b"there", (host, int(port)))
    loop = asyncio.get_running_loop()
    for _ in range(2):
        datagram, relay = await asyncio.wait_for(loop.sock_recvfrom(server, 100), 5)
        assert datagram == b"there"
    server.sendto(b"and back", relay)
    assert await asyncio.wait_for(loop.sock_recv(client, 100), 5) == b"and back"
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 5) == 0
