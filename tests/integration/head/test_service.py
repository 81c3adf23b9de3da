"""How a head of this project bears hostile files and clients, signals, and poor surroundings."""

import asyncio
import os
import signal
import socket

import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from support.hostile.http_requests import NO_REQUESTS, exchange, get
from support.hostile.settings_files import settings_files
from support.peers.worker_stub import WorkerStub
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess

pytestmark = pytest.mark.only_our_heads("settings, logs and the status port are the project's")


async def refusal(head: Daemon) -> str:
    """Start a head that cannot; return what it says, which is one line of a terminal."""
    head.start()
    assert await head.ended() == 2
    (line,) = head.log.splitlines()
    assert line.isprintable() and len(line) < 1000
    return line


@pytest.mark.parametrize(("content", "told"), settings_files("queue_size", "worker_timeout"))
async def test_whatever_the_file_holds_the_message_is_one_short_line(tmp_path, content, told):
    config = tmp_path / "head.toml"
    config.write_bytes(content)
    assert told in await refusal(HeadProcess(config=config))


async def test_what_is_not_utf_8_is_refused_wherever_it_is_and_others_variables_may_be():
    assert "in UTF-8" in await refusal(HeadProcess({"DAIIC_CLUSTER_KEY_FILE": "a\udcff"}))
    head = HeadProcess(cluster_key_file="a\udcff")
    head.start()
    assert await head.ended() == 2
    assert "in UTF-8" in head.log
    async with HeadProcess({"OTHER": "a\udcff"}) as head:
        assert (await head.get("/healthz"))[0] == 200


async def test_settings_are_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, told in (
        (tmp_path / "pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file or directory"),
    ):
        assert told in await refusal(HeadProcess(config=path))


async def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path):
    config = tmp_path / "head.toml"
    config.write_text("queue_size = 1\nmax_attempts = 5\ntask_deadline = 1e1 # seconds\n")
    environment = {"DAIIC_CONFIG": str(config), "DAIIC_QUEUE_SIZE": "2", "DAIIC_LOG_LEVEL": "info"}
    async with (
        HeadProcess(environment, queue_size=3) as head,
        ClusterClient([head.address]) as client,
    ):
        assert (await client.status()).queue_size == 3


async def test_port_that_is_taken_ends_it_with_status_1_and_a_sentence():
    for kind, name in ((socket.SOCK_DGRAM, "listen"), (socket.SOCK_STREAM, "http_listen")):
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                taken.listen()
            head = HeadProcess(**{name: f"127.0.0.1:{taken.getsockname()[1]}"})
            head.start()
            assert await head.ended() == 1
            assert "in use" in head.log and "Traceback" not in head.log


@pytest.mark.parametrize("name", NO_REQUESTS)
async def test_what_is_not_a_request_is_refused_and_harms_nobody(head, name):
    request, status = NO_REQUESTS[name]
    answer, _ = await exchange(head.status_port, request)
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert (await get(head.status_port, "/healthz"))[1] == "ok\n"


async def test_status_port_answers_as_others_do(head):
    answer, body = await get(head.status_port, "/metrics?all")
    assert answer.startswith("HTTP/1.1 200 ") and "application/openmetrics-text" in answer
    assert body.endswith("# EOF\n")
    assert (await get(head.status_port, "/healthz", "HEAD"))[1] == ""
    assert (await get(head.status_port, "/"))[0].startswith("HTTP/1.1 404 ")
    for host, status in (("evil.example", 403), ("[::1]:7701", 200), ("a.localhost.", 200)):
        request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"
        answer, _ = await exchange(head.status_port, request.encode())
        assert answer.startswith(f"HTTP/1.1 {status} ")


async def test_connections_without_a_request_do_not_keep_others_out(head):
    held = [await asyncio.open_connection("127.0.0.1", head.status_port) for _ in range(100)]
    assert (await get(head.status_port, "/healthz"))[1] == "ok\n"
    assert await asyncio.wait_for(held[0][0].read(), 5) == b""
    for _, writer in held:
        writer.close()


async def test_client_that_does_not_read_or_leaves_early_harms_nobody(head):
    for ending in (b"", b"\r\n\r\n"):
        _, writer = await asyncio.open_connection("127.0.0.1", head.status_port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost" + ending)
        await writer.drain()
        writer.transport.abort()
    assert (await get(head.status_port, "/healthz"))[1] == "ok\n"


async def test_systemd_hears_of_a_reload_on_an_abstract_socket(tmp_path):
    name = f"daiic-{os.getpid()}-reload"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}")
        systemd.settimeout(60)

        def hears(start: str) -> str:
            while not (said := systemd.recv(4096).decode()).startswith(start):
                pass
            return said

        async with HeadProcess({"NOTIFY_SOCKET": f"@{name}"}, drain_timeout=1) as head:
            await asyncio.to_thread(hears, "READY=1")
            head.signal(signal.SIGHUP)
            _, clock = (await asyncio.to_thread(hears, "RELOADING=1")).split("\n")
            assert int(clock.removeprefix("MONOTONIC_USEC=")) > 0
            await asyncio.to_thread(hears, "READY=1")
            head.signal(signal.SIGTERM)
            await asyncio.to_thread(hears, "STOPPING=1")
            await asyncio.to_thread(hears, "EXTEND_TIMEOUT_USEC=")


async def test_level_of_the_log_follows_a_reload(tmp_path, notify):
    config = tmp_path / "head.toml"
    config.write_text("log_level = 'error'\n")
    head = HeadProcess({"NOTIFY_SOCKET": str(notify.path)}, config=config)
    head.start()
    await notify.hears("READY=1")
    config.write_text("log_level = 'info'\n")
    head.signal(signal.SIGHUP)
    await head.says("settings reloaded .*changed=log_level")
    await head.kill()


async def test_journal_gets_a_priority_with_every_line():
    async with HeadProcess({"JOURNAL_STREAM": "8:1"}) as head:
        assert head.log.startswith("<6>event=serving listen=127.0.0.1:")
        head.signal(signal.SIGINT)
        assert await head.ended() == 0
    assert all(line.startswith("<6>event=") for line in head.log.splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_that_come_again_change_nothing(number):
    async with HeadProcess() as head, ClusterClient([head.address]) as client:
        stub = await WorkerStub.open([head.address], slots=1)
        await head.wait_for_workers(1)
        task = pb.Task(model="slow", text=pb.TextTask(prompt="done"))
        accepted = [asyncio.create_task(client.answer(task)) for _ in range(2)]
        await asyncio.sleep(0.1)
        for _ in range(20):
            head.signal(number)
            head.signal(signal.SIGHUP)
            await asyncio.sleep(0.01)
        assert [answer.text for answer in await asyncio.gather(*accepted)] == ["done"] * 2
        assert await head.ended() == 0
        await stub.close()


async def test_it_serves_without_a_home_a_locale_or_an_input(tmp_path):
    bare = {"environment": {"LC_ALL": "C"}, "without": ["HOME", "USER", "LANG"]}
    head = HeadProcess(**bare, cluster_key_file=tmp_path / "schlüssel")
    head.start()
    assert await head.ended() == 2
    assert "schlüssel" in head.log
    async with HeadProcess(**bare) as head, ClusterClient([head.address]) as client:
        with pytest.raises(TaskError):
            await client.answer(pb.Task(model="ünbekannt", text=pb.TextTask(), deadline_ms=100))
