"""The gateway as a service: what it tells systemd, how it reloads, how it ends."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import gateway_process

CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": "x"}]}
PATH = "/v1/chat/completions"


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    async def until(self, wanted: str) -> list[str]:
        """Return what is said up to the first line that begins so."""
        said: list[str] = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while not any(line.startswith(wanted) for line in said):
                said += (await loop.sock_recv(self._socket, 4096)).decode().split("\n")
        return said


@pytest.fixture
async def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return Systemd(tmp_path / "notify")


async def test_it_tells_systemd_how_it_is(
    head: ScriptedHead, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    async with gateway_process(f"--heads={head.address}") as gateway:
        await systemd.until("READY=1")
        await systemd.until("STATUS=0 requests running; 1 workers, 3 models, 0 tasks queued")
        for _ in range(3):
            await systemd.until("WATCHDOG=1")
        gateway.process.terminate()
        await systemd.until("STOPPING=1")


async def test_limits_change_at_a_reload_and_nothing_is_cut(
    head: ScriptedHead, systemd: Systemd, tmp_path: Path
) -> None:
    go_on = asyncio.Event()

    async def held(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        await go_on.wait()
        yield pb.Result(text=" two", tokens=[2], final=True)

    head.script = held
    config = tmp_path / "gateway.toml"
    config.write_text("concurrent_requests = 5\n")
    async with gateway_process(f"--heads={head.address}", f"--config={config}") as gateway:
        await gateway.ready()
        stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        await systemd.until("READY=1")
        config.write_text("concurrent_requests = 1\n")
        gateway.process.send_signal(signal.SIGHUP)
        await systemd.until("READY=1")
        async with gateway.http as http:
            assert (await http.post(PATH, json=CHAT)).status_code == 429
        go_on.set()
        said = [event.choices[0].delta.content or "" async for event in stream]
        assert "".join(said) == "one two"


async def test_what_does_not_end_in_time_is_cut_and_cancelled(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    async def forever(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        await asyncio.sleep(3600)

    head.script = forever
    gateway = await start_gateway("--drain-timeout=1")
    stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
    await anext(stream)
    begin = time.monotonic()
    gateway.process.terminate()
    assert await asyncio.wait_for(gateway.process.wait(), 8) == 0
    assert 0.8 < time.monotonic() - begin < 6
    await asyncio.wait_for(head.cancelled.get(), 1)
    with contextlib.suppress(Exception):
        await stream.close()


async def test_it_may_open_as_many_files_as_the_system_lets_it(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway()
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    row = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert row.split()[3] == row.split()[4]
