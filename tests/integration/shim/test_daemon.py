"""The shim as a daemon: settings, systemd, probes, and an orderly end."""

import asyncio
import re
import signal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daiic.client import ClusterClient
from daiic.version import VERSION
from daiic.wire import daiic_pb2 as pb
from integration.shim.tasks import words
from support.peers.plain_client import RESULT, PlainClient
from support.peers.worker_stub import words_every
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess
from support.processes.notify_socket import NotifySocket


async def run(binary: str, *flags: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        binary,
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 5)
    return process.returncode or 0, output.decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lisen = ''", "unknown key lisen; did you mean listen?"),
        ("colour = 1", "unknown key colour; the keys are"),
        ("heads = '127.0.0.1:1'", 'heads = "127.0.0.1:1" .* must be a list of texts'),
        ("client_rate = 'many'", 'client_rate = "many" .* must be a number'),
        ("client_rate = 0", "client_rate = 0 is not valid: it must be above 0"),
        ("max_tasks = 1.5", "max_tasks = 1.5 .* must be a whole number"),
        ("log_level = 'loud'", "must be one of debug, info, warning, error"),
        ("allowed_networks = ['10.0.0.0/33']", '"10.0.0.0/33" is not a network'),
        ("client_bytes = 1", "each must be at least the one before"),
        ("listen = ", "is not TOML"),
    ],
)
async def test_wrong_settings_are_named(binary: str, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "shim.toml"
    file.write_text(text)
    status, output = await run(binary, "--config", str(file))
    assert status == 2
    assert re.search(said, output), output
    assert str(file) in output or "not valid" in output or "network" in output


async def test_wrong_environment_flags_and_addresses_are_named(binary: str) -> None:
    status, output = await run(binary, DAIIC_MAX_TASKS="lots")
    assert status == 2
    assert 'max_tasks = "lots" (environment DAIIC_MAX_TASKS)' in output
    status, output = await run(binary, "--max-tusks", "5")
    assert status == 2
    assert "unknown flag --max-tusks; did you mean max_tasks?" in output
    status, output = await run(binary, "--listen", "nonsense")
    assert status == 1
    assert 'listen = "nonsense" is not valid' in output
    status, output = await run(binary, "--cluster-key-file", "/nowhere/key")
    assert status == 1
    assert "/nowhere/key" in output and "daiic keygen" in output


async def test_flags_go_before_environment_and_environment_before_file(
    binary: str, tmp_path: Path
) -> None:
    file = tmp_path / "shim.toml"
    file.write_text("listen = 'file'\nhttp_listen = ''\n")
    _, output = await run(binary, DAIIC_CONFIG=str(file))
    assert 'listen = "file"' in output
    _, output = await run(binary, DAIIC_CONFIG=str(file), DAIIC_LISTEN="environment")
    assert 'listen = "environment"' in output
    _, output = await run(binary, "--listen=flag", DAIIC_CONFIG=str(file), DAIIC_LISTEN="env")
    assert 'listen = "flag"' in output


async def test_help_names_every_setting_with_its_default(binary: str) -> None:
    status, output = await run(binary, "--help")
    assert status == 0
    assert "--listen VALUE\n      Address and port for clients" in output
    assert 'default: "127.0.0.1:7737"' in output
    assert (await run(binary, "--version"))[1] == f"dcf-shim {VERSION}\n"


async def test_on_loopback_the_status_port_answers_to_local_names_only(shim) -> None:
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil"):
        assert (await shim.get("/metrics", host))[0] == 403
    for host in ("localhost:7738", "a.localhost", "127.0.0.1", "[::1]:7738"):
        assert (await shim.get("/healthz", host))[0] == 200


async def test_metrics_are_prometheus_text(shim) -> None:
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words("count me"))
        await client.whole_text()
    assert await shim.get("/healthz") == (200, "ok\n")
    status, text = await shim.get("/metrics")
    assert status == 200
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["daiic_shim_tasks_accepted_total",] == 1
    assert samples["daiic_shim_tasks_answered_total",] == 1
    assert samples["daiic_shim_messages_received_total", "client"] == 1
    assert samples["daiic_shim_messages_received_total", "mesh"] == 3
    assert samples["daiic_shim_head_up", shim.settings["heads"]] == 1
    assert (await shim.get("/nothing"))[0] == 404


async def test_systemd_is_told_and_sigterm_lets_answers_finish(
    binary: str, head, worker, notify: NotifySocket
) -> None:
    worker.scripts["words"] = words_every(0.2)
    free = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0"}
    environment = {"NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "300000"}
    async with Daemon(binary, environment=environment, heads=head.address, **free) as shim:
        await notify.hears("READY=1")
        await notify.hears("STATUS=1 of 1 heads answer")
        await notify.hears("WATCHDOG=1")
        with PlainClient(shim.host_port, acknowledges=True) as client:
            client.send_task(words("a b c d e f", task_id=1))
            first = (await client.answer()).result()
            shim.signal(signal.SIGTERM)
            await notify.hears("STOPPING=1")
            assert (await shim.get("/readyz")) == (503, "shutting down\n")
            client.send_task(words("too late", task_id=2))
            rest = [await client.answer() for _ in range(7)]
        late = [r.error() for r in rest if r.kind != RESULT]
        assert [(error.id, error.code) for error in late] == [(2, pb.SHUTTING_DOWN)]
        text = first.text + "".join(r.result().text for r in rest if r.kind == RESULT)
        assert text == "a b c d e f "
        assert await shim.ended() == 0


async def test_second_sigterm_ends_the_wait(launch, head, worker) -> None:
    worker.scripts["words"] = words_every(0.2)
    shim = await launch(heads=head.address)
    await shim.until_ready()
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words(" ".join(map(str, range(200)))))
        await client.answer()
        shim.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        shim.signal(signal.SIGTERM)
        while (received := await client.answer()).kind == RESULT:
            pass
        assert received.error().code == pb.SHUTTING_DOWN
        assert await shim.ended() == 0


async def test_sighup_changes_what_can_change(launch, head, worker, tmp_path: Path) -> None:
    file = tmp_path / "shim.toml"
    file.write_text("client_tasks = 5\n")
    shim = await launch(heads=head.address, config=file)
    await shim.until_ready()

    async def reload(text: str, said: str) -> None:
        file.write_text(text)
        shim.signal(signal.SIGHUP)
        await shim.says(said)

    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words("before"))
        assert await client.whole_text() == "before "
        await reload("client_tasks = 'five'\n", "settings not reloaded")
        await reload("max_tasks = 7\nhead_timeout = 9\n", "some changes need a restart")
        assert "client_tasks, max_tasks" in shim.log and 'settings="head_timeout"' in shim.log
        client.send_task(words("between"))
        assert await client.whole_text() == "between "
        await reload("allowed_networks = ['10.0.0.0/8']\n", "allowed_networks")
        client.send_task(words("after"))
        with pytest.raises(TimeoutError):
            await client.answer(0.5)
        await reload("log_level = 'debug'\n", "log_level")
        client.send_task(words("seen"))
        await shim.says("task accepted")
    assert shim.exit_status is None


async def test_ipv6_is_served_like_ipv4(each_head, launch, enter) -> None:
    head = await enter(HeadProcess(listen="[::1]:0"))
    shim = await launch(listen="[::1]:0", heads=head.address)
    await shim.until_ready()
    async with ClusterClient([shim.address]) as client:
        assert (await client.status()).queue_size == 1024


async def test_drain_ends_in_time_with_an_error_for_what_is_left(launch, head, worker) -> None:
    worker.scripts["words"] = words_every(0.2)
    shim = await launch(heads=head.address, drain_timeout=0.5)
    await shim.until_ready()
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words(" ".join("abcdefghijklmnopqrstuvwxyz")))
        await client.answer()
        shim.signal(signal.SIGTERM)
        while (received := await client.answer()).kind == RESULT:
            pass
        assert received.error().code == pb.SHUTTING_DOWN
        assert await shim.ended() == 0


async def test_shim_waits_for_a_head_that_has_no_name_yet(binary: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(binary, "--heads", "no-such-host.invalid:7717", "--cluster-key-file", ""),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        said = await process.stdout.readline()
        assert b"no head is found; trying again" in said and b"no-such-host.invalid" in said
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_head_that_is_no_address_is_named(binary: str) -> None:
    for text in ("head", "head:many"):
        status, output = await run(binary, "--heads", text)
        assert status == 1
        assert f'heads = "{text}" is not valid' in output and "write host:port" in output
