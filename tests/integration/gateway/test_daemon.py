"""The gateway as a service: what it tells systemd, how it reloads, how it ends."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import gateway_process
from support.processes.notify_socket import NotifySocket

CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": "x"}]}
PATH = "/v1/chat/completions"


@pytest.fixture
def systemd(notify: NotifySocket, monkeypatch: pytest.MonkeyPatch) -> NotifySocket:
    monkeypatch.setenv("NOTIFY_SOCKET", str(notify.path))
    return notify


async def test_it_tells_systemd_how_it_is(
    head: ScriptedHead, systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    async with gateway_process(f"--heads={head.address}") as gateway:
        await systemd.hears("READY=1")
        await systemd.hears("STATUS=0 requests running; 1 workers, 4 models, 0 tasks queued")
        for _ in range(3):
            systemd.forget()
            await systemd.hears("WATCHDOG=1")
        gateway.signal(signal.SIGTERM)
        await systemd.hears("STOPPING=1")


async def test_limits_change_at_a_reload_and_nothing_is_cut(
    head: ScriptedHead, systemd: NotifySocket, tmp_path: Path
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
        await systemd.hears("READY=1")
        systemd.forget()
        config.write_text("concurrent_requests = 1\n")
        gateway.signal(signal.SIGHUP)
        await systemd.hears("READY=1")
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
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert time.monotonic() - begin > 0.8
    await asyncio.wait_for(head.cancelled.get(), 1)
    with contextlib.suppress(Exception):
        await stream.close()


async def test_it_may_open_as_many_files_as_the_system_lets_it(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway()
    limits = Path(f"/proc/{gateway.pid}/limits").read_text()
    row = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert row.split()[3] == row.split()[4]
