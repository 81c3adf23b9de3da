"""HydraMesh where a process is started carelessly: what it is given, and what it is not."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess

NOT_UTF8 = os.fsdecode(b"\xff\xfe")


@pytest.fixture(scope="module", autouse=True)
def _hydramesh_alone(hydramesh: heads.Head) -> Iterator[None]:
    with heads.using(hydramesh):
        yield


def run(
    hydramesh: heads.Head, *arguments: str, **options: object
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*hydramesh.command, *arguments],
        text=True,
        timeout=60,
        **{
            "env": {**os.environ, **hydramesh.environment},
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        | options,
    )  # type: ignore[call-overload]


async def test_an_argument_that_is_not_utf8_is_refused_and_none_is_forgotten(hydramesh):
    for flag, key in (("--cluster-key-file", "cluster_key_file"), ("--state-dir", "state_dir")):
        done = await asyncio.to_thread(run, hydramesh, flag, f"/{NOT_UTF8}")
        assert done.returncode == 2, done
        assert f"{key} = " in done.stderr and done.stderr.count("\n") == 1
        assert "text without control characters, in UTF-8" in done.stderr
    for arguments in (("history", NOT_UTF8), ("repl", "--socket", NOT_UTF8), (NOT_UTF8,)):
        done = await asyncio.to_thread(run, hydramesh, *arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    done = await asyncio.to_thread(run, hydramesh, "--config", f"/{NOT_UTF8}")
    assert done.returncode == 2 and "cannot be read" in done.stderr, done


async def test_a_variable_that_is_not_utf8_matters_only_if_it_is_a_setting():
    async with (
        HeadProcess({"OTHER": NOT_UTF8, NOT_UTF8: "x"}, storage="none") as head,
        ClusterClient([head.address]) as client,
    ):
        await client.status()
    head = HeadProcess({"DAIIC_CLUSTER_KEY_FILE": f"/{NOT_UTF8}"}, storage="none")
    head.start()
    assert await head.ended() == 2
    assert "cluster_key_file = " in head.log and "in UTF-8" in head.log


async def test_without_input_and_outputs_its_log_reaches_no_other_file(hydramesh, tmp_path):
    config = tmp_path / "head.toml"
    config.write_text("queue_size = 5\n")
    command = " ".join(
        [
            *hydramesh.command,
            "--listen=127.0.0.1:0 --http-listen=127.0.0.1:0",
            f"--state-dir={tmp_path}/state --config={config}",
        ]
    )
    process = await asyncio.create_subprocess_shell(
        f"exec {command} <&- >&- 2>&-", env={**os.environ, **hydramesh.environment}
    )
    files = Path(f"/proc/{process.pid}/fd")
    async with asyncio.timeout(60):
        while not (tmp_path / "state/hydramesh.sqlite").exists():
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    assert [(files / name).readlink() for name in "012"] == [Path("/dev/null")] * 3
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert (tmp_path / "state/hydramesh.sqlite.lock").read_bytes() == b""


def test_what_cannot_be_printed_is_a_failure(hydramesh, tmp_path):
    with Path("/dev/full").open("w") as full:
        for arguments in (("--version",), ("--help",), ("history", "--help"), ("repl", "--help")):
            done = run(hydramesh, *arguments, stdout=full)
            assert done.returncode == 1, arguments
            assert done.stderr == (
                "hydramesh: standard output cannot be written: No space left on device\n"
            )
    # Who reads has seen enough.
    reading, writing = os.pipe()
    os.close(reading)
    done = run(hydramesh, "--help", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


async def test_a_log_that_nobody_reads_stops_nothing(hydramesh):
    reading, writing = os.pipe()
    head = HeadProcess({"JOURNAL_STREAM": "8:1"}, storage="none")
    head.start()
    where = head.host_port
    await head.kill()
    process = await asyncio.create_subprocess_exec(
        *hydramesh.command,
        f"--listen=127.0.0.1:{where[1]}",
        "--http-listen=",
        "--storage=none",
        stderr=writing,
        env={**os.environ, **hydramesh.environment},
    )
    os.close(writing)
    try:
        async with ClusterClient([f"127.0.0.1:{where[1]}"]) as client:
            async with asyncio.timeout(60):
                await client.status()
            for _ in range(1500):  # more than a pipe holds
                process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.002)
            async with asyncio.timeout(5):
                await client.status()
        # Who comes late is told that something is missing, each line whole.
        read = await asyncio.to_thread(os.read, reading, 1 << 20)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        while part := await asyncio.to_thread(os.read, reading, 1 << 20):
            read += part
        lines = read.decode().splitlines()
        assert all("] " in line for line in lines)
        assert any("lines of this log were lost" in line for line in lines), lines[-5:]
    finally:
        os.close(reading)
        if process.returncode is None:
            process.kill()


async def test_random_numbers_need_no_file():
    async with HeadProcess(storage="none") as head:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        used = len(list(Path(f"/proc/{head.pid}/fd").iterdir()))
        subprocess.run(["prlimit", f"--pid={head.pid}", f"--nofile={used}"], check=True)
        async with ClusterClient([head.address]) as client:
            for _ in range(600):  # more than are drawn at a time
                await client.answer(pb.Task(model="echo", text=pb.TextTask(prompt="x")))
        assert "fault" not in head.log, head.log
        await stub.close()


CLOCK = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (!result && clock == CLOCK_REALTIME) time->tv_sec += atol(getenv("CLOCK_OFFSET"));
    return result;
}
int gettimeofday(long *time, void *zone) {
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    time[0] = now.tv_sec;
    time[1] = now.tv_nsec / 1000;
    return result;
}
"""


@pytest.mark.parametrize("year", [1970, 2020, 2200])
async def test_whatever_the_clock_says_figures_are_recorded_and_shown(hydramesh, tmp_path, year):
    library = tmp_path / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"]
    subprocess.run(command, input=CLOCK, text=True, check=True)
    offset = round((year - 1970) * 365.2425 * 86400 + 2 * 86400 - time.time())
    clock = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    async with HeadProcess(clock, state_dir=tmp_path) as head:
        await asyncio.sleep(1.5)
        assert await head.metric("hydramesh_recording") == 1
        assert await asyncio.to_thread(head.stop) == 0
        assert "fault" not in head.log, head.log
    done = run(
        hydramesh,
        "history",
        "--state-dir",
        str(tmp_path),
        env={**os.environ, **hydramesh.environment, **clock},
    )
    assert (done.returncode, done.stderr) == (0, "") and f"{year}-" in done.stdout


async def test_what_is_recorded_is_only_the_owners_to_read(tmp_path):
    tmp_path.chmod(0o755)
    async with HeadProcess(state_dir=tmp_path) as head:
        await head.get("/metrics")
        files = list(tmp_path.iterdir())
        assert any(path.suffix == ".sqlite" for path in files)
        assert [path for path in files if path.stat().st_mode & 0o077] == []


async def test_probes_are_answered_though_silent_clients_have_all_descriptors(hydramesh):
    async with HeadProcess(storage="none") as head:
        used = len(list(Path(f"/proc/{head.pid}/fd").iterdir()))
        subprocess.run(["prlimit", f"--pid={head.pid}", f"--nofile={used + 8}"], check=True)
        held = [await asyncio.open_connection("127.0.0.1", head.status_port) for _ in range(40)]
        async with asyncio.timeout(5):
            assert await head.get("/healthz") == (200, "ok\n")
        for _, writer in held:
            writer.close()
