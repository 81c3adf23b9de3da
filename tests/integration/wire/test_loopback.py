"""Between processes of one machine: large datagrams, whatever the interface's MTU becomes."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daiic.tether import tethered
from daiic.wire.events import Event, Message
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import MIB, Limits
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket
from support.links.lossy_relay import Conditions, LossyRelay

KEY = ClusterKey(bytes(range(32)))


class Pair:
    """Two sockets; `transfer` returns how many datagrams a message took."""

    async def __aenter__(self) -> "Pair":
        self._whole: asyncio.Queue[bytes] = asyncio.Queue()
        self.to = await MeshSocket.open("127.0.0.1:0", on_events=self._arrived, key=KEY)
        self.sender = await MeshSocket.open("127.0.0.1:0", on_events=lambda _: None, key=KEY)
        self.address = self.to.local_address
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sender.close(drain=0)
        await self.to.close(drain=0)

    def _arrived(self, events: list[Event]) -> None:
        for event in events:
            assert isinstance(event, Message)
            self._whole.put_nowait(event.payload)

    async def transfer(self, size: int) -> int:
        before = self.sender.counters.datagrams_sent
        payload = os.urandom(size)
        self.sender.send(self.address, MessageType.RESULT, payload)
        assert await asyncio.wait_for(self._whole.get(), 30) == payload
        return self.sender.counters.datagrams_sent - before


async def test_large_message_takes_few_datagrams_after_the_first() -> None:
    async with Pair() as pair:
        for _ in range(2):
            await pair.transfer(16 * MIB)
        assert await pair.transfer(64 * MIB) < 1.5 * 64 * MIB / Limits().loopback_mtu


async def test_relay_that_passes_no_large_datagram_gets_small_ones() -> None:
    async with Pair() as pair, await LossyRelay.start(pair.address, Conditions()) as relay:
        pair.address = relay.address
        for _ in range(3):
            assert await pair.transfer(MIB) > MIB / Limits().path_mtu
        assert relay.tally.too_large == 1


async def small_mtu() -> None:
    """Lower loopback's MTU while messages pass; run in a network namespace of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    async with Pair() as pair:
        for mtu in (65536, 1500, 1280, 65536):
            subprocess.run(["ip", "link", "set", "lo", "mtu", str(mtu)], check=True)
            for _ in range(3):
                await pair.transfer(4 * MIB + 1000)
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1100"], check=True)
    async with Pair() as pair, await LossyRelay.start(pair.address, Conditions()) as relay:
        await pair.transfer(4 * MIB)
        pair.address = relay.address
        await pair.transfer(4 * MIB)


async def test_smaller_mtu_of_loopback_loses_nothing() -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("a loopback of its own needs root, `ip` and `unshare`")
    process = await asyncio.create_subprocess_exec(
        *tethered("unshare", "--net", sys.executable, __file__),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    if b"unshare failed" in said:
        pytest.skip(f"no network namespaces here: {said.decode().strip()}")
    assert process.returncode == 0, said.decode()


if __name__ == "__main__":
    asyncio.run(small_mtu())
