"""What HydraMesh keeps, whatever becomes of it, its file and its disk."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from support.peers.cast import Cast
from support.peers.scripted_peer import ScriptedWorker
from support.processes import built
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.heads import Head

RESULT, TASK = MessageType.RESULT, MessageType.TASK
DONE = re.compile(r'^daiic_head_tasks_total{kind="text",outcome="DONE"} (\d+)$', re.MULTILINE)
NOT_RECORDED = "no figures are recorded"


class Answering:
    """A worker that answers all it is given, and a client that goes on asking it."""

    def __init__(self, worker: ScriptedWorker) -> None:
        self.worker = worker
        self._task = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        while True:
            task = await self.worker.next(TASK)
            part = pb.Result(id=task.id, final=True, text="x", tokens=[1, 2])
            self.worker.send(RESULT, part)

    def stop(self) -> None:
        self._task.cancel()


async def run_tasks(head: HeadProcess, cast: Cast, count: int, rate: float = 0.0) -> None:
    """Have `head` do `count` tasks."""
    model = pb.ModelStatus(name=cast.model, kind=pb.TEXT, state=pb.LOADED, rate=rate)
    worker = await cast.worker(head, worker_id="the-worker", slots=64, models=[model])
    client = await cast.client(head)
    answering = Answering(worker)
    for number in range(1, count + 1):
        client.send(TASK, cast.task(number))
    for _ in range(count):
        await client.next(RESULT)
    answering.stop()
    await worker.say(state=pb.STOPPED)


async def done(head: HeadProcess) -> int:
    """Return how many tasks `head` says that it has done."""
    _, text = await head.get("/metrics")
    found = DONE.search(text)
    return int(found[1]) if found else 0


async def surely_written(head: HeadProcess) -> int | None:
    """Return how many tasks `head` has done and written down; `None` if the disk is slow.

    It waits for the disk half a second before it answers, and no longer.
    """
    asked = time.monotonic()
    count = await done(head)
    return count if time.monotonic() - asked < 0.4 else None


async def until_recorded(kind: Head, state: Path, storage: str, tasks: int) -> None:
    """Wait until `hydramesh history` shows that many tasks."""
    async with asyncio.timeout(PATIENCE):
        while (found := recorded(kind, state, storage)["sums"]["tasks"]) != tasks:
            assert found < tasks
            await asyncio.sleep(0.1)


async def until_unrecorded(head: HeadProcess, count: int) -> None:
    """Wait until `head` says that it has passed over `count` tasks."""
    async with asyncio.timeout(PATIENCE):
        while await head.metric("hydramesh_unrecorded_total") < count:
            await asyncio.sleep(0.1)


def file_in(state: Path, storage: str = "sqlite") -> Path:
    return state / f"hydramesh.{storage}"


def started(kind: Head, state: Path, storage: str = "sqlite", **environment: str) -> HeadProcess:
    return HeadProcess(environment, kind=kind, state_dir=state, storage=storage, drain_timeout=1)


def history(kind: Head, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*kind.command, "history", *map(str, arguments)],
        env={**os.environ, **kind.environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def recorded(kind: Head, state: Path, storage: str = "sqlite") -> dict[str, Any]:
    """Return what `hydramesh history` says, with the sum of each metric."""
    shown = history(kind, "--state-dir", state, "--storage", storage, "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    found["sums"] = {
        name: sum(value or 0 for value in values) for name, values in found["metrics"].items()
    }
    return found


# ------------------------------------------------------------------ the process ends


async def test_a_restart_goes_on(hydramesh: Head, storage: str, tmp_path: Path, cast: Cast) -> None:
    async with started(hydramesh, tmp_path, storage) as head:
        await run_tasks(head, cast, 20, rate=42.5)
        assert await done(head) == 20
        before = time.monotonic()
        head.signal(signal.SIGTERM)
        assert await head.ended() == 0
        assert time.monotonic() - before < 15
    found = recorded(hydramesh, tmp_path, storage)
    assert found["sums"]["tasks"] == found["sums"]["done"] == 20
    assert found["sums"]["tokens"] == 40
    assert [(r["worker"], r["model"], r["rate"]) for r in found["rates"]] == [
        ("the-worker", cast.model, 42.5)
    ]
    async with started(hydramesh, tmp_path, storage) as head:
        assert await done(head) == 20
        assert await head.metric("daiic_head_task_seconds_count") == 20
        await run_tasks(head, cast, 5)
        assert await done(head) == 25
    assert "WARNING" not in head.log and NOT_RECORDED not in head.log


async def test_what_was_shown_survives_a_kill(
    hydramesh: Head, storage: str, tmp_path: Path, cast: Cast
) -> None:
    shown = 0
    for _ in range(3):
        async with started(hydramesh, tmp_path, storage) as head:
            assert await done(head) >= shown
            model = pb.ModelStatus(name=cast.model, kind=pb.TEXT, state=pb.LOADED)
            worker = await cast.worker(head, slots=64, models=[model])
            client = await cast.client(head)
            answering = Answering(worker)
            for number in range(1, 2001):
                client.send(TASK, cast.task(number))
            while (now := await surely_written(head)) is None or now < shown + 100:
                await asyncio.sleep(0.01)
            shown = now
            await head.kill()  # in the middle of the rest
            answering.stop()
            await worker.close()
        assert recorded(hydramesh, tmp_path, storage)["sums"]["done"] >= shown
        if storage == "sqlite":
            with sqlite3.connect(file_in(tmp_path)) as database:
                assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    async with started(hydramesh, tmp_path, storage) as head:
        assert await done(head) >= shown
    assert "damaged" not in head.log


async def test_rates_are_known_after_a_restart(
    hydramesh: Head, storage: str, tmp_path: Path, cast: Cast
) -> None:
    def model(rate: float) -> list[pb.ModelStatus]:
        return [pb.ModelStatus(name=cast.model, kind=pb.TEXT, state=pb.LOADED, rate=rate)]

    async with started(hydramesh, tmp_path, storage) as head:
        await cast.worker(head, worker_id="slow", models=model(10))
        await cast.worker(head, worker_id="fast", models=model(100))
        head.signal(signal.SIGTERM)
        await head.ended()
    async with started(hydramesh, tmp_path, storage) as head:
        slow = await cast.worker(head, worker_id="slow", models=model(0))
        fast = await cast.worker(head, worker_id="fast", models=model(0))
        client = await cast.client(head)
        for number in range(1, 5):
            client.send(TASK, cast.task(number))
            await fast.answer(await fast.next(TASK), "x")
        assert not slow.waiting(TASK)


# ------------------------------------------------------------------ the file


def a_database() -> bytes:
    database = sqlite3.connect(":memory:")
    database.execute("create table something (else_)")
    database.execute("insert into something values (1)")
    database.commit()
    return database.serialize()


@pytest.mark.parametrize(
    "content",
    [b"This is no database. " * 500, b"SQLite format 3\0" + b"\xff" * 9000, a_database(), b"STDB"],
    ids=["text", "a header", "another database", "a cut header"],
)
async def test_a_damaged_file_is_set_aside(
    hydramesh: Head, storage: str, tmp_path: Path, cast: Cast, content: bytes
) -> None:
    file = file_in(tmp_path, storage)
    file.write_bytes(content)
    async with started(hydramesh, tmp_path, storage) as head:
        assert "is damaged: it was renamed, and another one is begun" in head.log
        await run_tasks(head, cast, 3)
        assert await head.metric("hydramesh_recording") == 1
        assert await done(head) == 3
        await until_recorded(hydramesh, tmp_path, storage, 3)
    assert file.with_name(f"{file.name}.damaged").read_bytes() == content


async def test_a_file_that_was_cut_is_set_aside(
    hydramesh: Head, storage: str, tmp_path: Path, cast: Cast
) -> None:
    file = file_in(tmp_path, storage)
    async with started(hydramesh, tmp_path, storage) as head:
        await run_tasks(head, cast, 300)
        head.signal(signal.SIGTERM)
        await head.ended()
    os.truncate(file, file.stat().st_size // 2)
    async with started(hydramesh, tmp_path, storage) as head:
        await head.says("is damaged: it was renamed")
        await run_tasks(head, cast, 3)
        assert await head.metric("hydramesh_recording") == 1


async def test_a_later_version_is_left_alone(hydramesh: Head, tmp_path: Path, cast: Cast) -> None:
    async with started(hydramesh, tmp_path) as head:
        head.signal(signal.SIGTERM)
        await head.ended()
    with sqlite3.connect(file_in(tmp_path)) as database:
        database.execute("pragma user_version = 99")
    database.close()
    content = file_in(tmp_path).read_bytes()
    async with started(hydramesh, tmp_path) as head:
        assert NOT_RECORDED in head.log and "a later version of HydraMesh wrote it" in head.log
        await run_tasks(head, cast, 3)
        assert await head.metric("hydramesh_recording") == 0
        await until_unrecorded(head, 3)
        head.signal(signal.SIGTERM)
        assert await head.ended() == 0
    assert file_in(tmp_path).read_bytes() == content


async def test_two_heads_do_not_share_a_file(
    hydramesh: Head, storage: str, tmp_path: Path, cast: Cast
) -> None:
    async with started(hydramesh, tmp_path, storage) as first:
        async with started(hydramesh, tmp_path, storage) as second:
            assert "another head writes to it" in second.log
            await run_tasks(second, cast, 3)
            assert await done(second) == 3
            assert await second.metric("hydramesh_recording") == 0
        await run_tasks(first, cast, 2)
        assert await done(first) == 2
        assert await first.metric("hydramesh_recording") == 1
        await until_recorded(hydramesh, tmp_path, storage, 2)


# ------------------------------------------------------------------ the disk


async def test_a_full_disk_stops_recording_and_nothing_else(
    hydramesh: Head, storage: str, tmp_path: Path, cast: Cast
) -> None:
    unshare = ("unshare", "--user", "--map-root-user", "--mount")
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("a disk that is full needs a user namespace of its own, which is not allowed")
    state = tmp_path / "state"
    state.mkdir()
    mount = f'mount -t tmpfs -o size=120k none "{state}" && exec "$@"'
    kind = Head("hydramesh", (*unshare, "sh", "-c", mount, "sh", *hydramesh.command))
    small = Head(kind.name, kind.command, hydramesh.environment)
    async with started(small, state, storage) as head:
        rounds = 0
        while await head.metric("hydramesh_recording") == 1:
            rounds += 1
            assert rounds < 200, head.log
            await run_tasks(head, cast, 100)
        await run_tasks(head, cast, 100)
        tasks = await done(head)
        assert tasks == 100 * (rounds + 1)
        await until_unrecorded(head, 100)
        assert head.log.count(NOT_RECORDED) == 1, head.log
        enter = (
            "nsenter",
            "--user",
            "--preserve-credentials",
            "--mount",
            "--target",
            str(head.pid),
        )
        grow = ("mount", "-o", "remount,size=50m", "none", str(state))
        grown = subprocess.run([*enter, *grow], capture_output=True, text=True)
        if grown.returncode:
            pytest.skip(f"the rest is not tested: {grown.stderr}")
        await head.says("figures are recorded again")
        await run_tasks(head, cast, 10)
        assert await head.metric("hydramesh_recording") == 1
        assert await done(head) == tasks + 10
        head.signal(signal.SIGTERM)
        assert await head.ended() == 0


async def test_a_folder_that_cannot_be_written_stops_nothing_else(
    hydramesh: Head, tmp_path: Path, cast: Cast
) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with started(hydramesh, tmp_path / "file" / "state") as head:
        assert head.log.count(NOT_RECORDED) == 1
        await run_tasks(head, cast, 3)
        assert await done(head) == 3
        head.signal(signal.SIGTERM)
        assert await head.ended() == 0


HANGING = """
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
/* A parent of vfork waits as for a disk: nothing but its end interrupts it. */
static int hang(void)
{
    struct timespec span = { 4, 0 };
    if (vfork() == 0) {
        nanosleep(&span, 0);
        _exit(0);
    }
    return 0;
}
int fsync(int file) { (void)file; return hang(); }
int fdatasync(int file) { (void)file; return hang(); }
"""


@pytest.fixture(scope="session")
def hanging_disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that makes every disk hang for seconds."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a disk that hangs is made by a library, and there is no C compiler")
    folder = tmp_path_factory.mktemp("hanging")
    (folder / "hanging.c").write_text(HANGING)
    library = folder / "hanging.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "hanging.c"], check=True)
    return str(library)


async def test_a_disk_that_hangs_delays_no_task(
    hydramesh: Head, tmp_path: Path, cast: Cast, hanging_disk: str
) -> None:
    async with started(hydramesh, tmp_path, LD_PRELOAD=hanging_disk) as head:
        worker, client = await cast.worker(head), await cast.client(head)
        answering = Answering(worker)
        longest, end = 0.0, time.monotonic() + 6
        number = 0
        while time.monotonic() < end:
            number += 1
            began = time.monotonic()
            client.send(TASK, cast.task(number))
            await client.next(RESULT)
            longest = max(longest, time.monotonic() - began)
        answering.stop()
        assert longest < 2, longest
        assert await done(head) == number
        began = time.monotonic()
        head.signal(signal.SIGTERM)
        assert await head.ended() == 0
        assert time.monotonic() - began < 20


def test_the_collector_does_not_wait_for_a_disk(hydramesh: Head, hanging_disk: str) -> None:
    program = """
    (asdf:load-system "hydramesh/foreign/outside")
    (let ((thread (sb-thread:make-thread
                   (lambda ()
                     (uiop:symbol-call '#:hydramesh/foreign/outside '#:call-outside
                                       (cffi:foreign-symbol-pointer "fsync")
                                       (cffi:make-pointer 1)))))
          (began (get-internal-real-time)))
      (sleep 1)
      (sb-ext:gc :full t)
      (format t "~&collected after ~D ms~%"
              (round (- (get-internal-real-time) began) (/ internal-time-units-per-second 1000)))
      (sb-thread:join-thread thread)
      (format t "hung for ~D ms~%"
              (round (- (get-internal-real-time) began) (/ internal-time-units-per-second 1000))))
    """
    done = subprocess.run(
        [
            built.HYDRAMESH / "build.sh",
            "lisp",
            "--eval",
            '(asdf:load-system "cffi")',
            "--eval",
            f"(progn {program})",
            "--quit",
        ],
        env={**os.environ, **hydramesh.environment, "LD_PRELOAD": hanging_disk},
        capture_output=True,
        text=True,
    )
    collected = re.search(r"collected after (\d+) ms", done.stdout)
    hung = re.search(r"hung for (\d+) ms", done.stdout)
    assert collected and hung, done.stdout + done.stderr
    assert int(collected[1]) < 3000 < int(hung[1])


# ------------------------------------------------------------------ the command


async def test_history_at_a_terminal_and_without_one(
    hydramesh: Head, storage: str, tmp_path: Path, cast: Cast
) -> None:
    where = ("--state-dir", tmp_path, "--storage", storage)
    async with started(hydramesh, tmp_path, storage) as head:
        await run_tasks(head, cast, 7, rate=3)
        assert await done(head) == 7
        everything = history(hydramesh, *where)
        assert everything.returncode == 0 and everything.stdout.isascii(), everything
        assert re.search(r"^tasks +7 ", everything.stdout, re.MULTILINE)
        one = history(hydramesh, *where, "--metric", "tokens", "--since=90m")
        assert one.returncode == 0 and one.stdout.isascii()
        assert "14 in all" in one.stdout and "#" in one.stdout
        only = history(hydramesh, *where, "--metric", "tasks", "--since", "1h", "--json")
        found = json.loads(only.stdout)
        assert list(found["metrics"]) == ["tasks"] and found["step"] == 60
        assert sum(value or 0 for value in found["metrics"]["tasks"]) == 7
        head.signal(signal.SIGTERM)
        await head.ended()
    command = " ".join([*hydramesh.command, "history", *map(str, where)])
    if shutil.which("script"):
        seen = subprocess.run(
            ["script", "--quiet", "--return", "--command", command, "/dev/null"],
            env={**os.environ, **hydramesh.environment, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            timeout=PATIENCE,
        )
        assert seen.returncode == 0 and "█" in seen.stdout.decode()


def test_history_is_told_what_it_cannot_do(hydramesh: Head, tmp_path: Path) -> None:
    for arguments, status, said in [
        (("--since", "soon"), 2, "--since soon is not valid"),
        (("--since", "0h"), 2, "is not valid"),
        (("--since", "9999999999999d"), 2, "is not valid"),
        (("--since",), 2, "expected one argument"),
        (("--metric", "tasky"), 2, "there is no metric tasky"),
        (("--colour",), 2, "unrecognized arguments: --colour"),
        (("--storage", "floppy"), 2, "storage = "),
        (("--storage", "none"), 2, "keeps nothing"),
        (("--state-dir", tmp_path / "nowhere"), 1, "nothing has been recorded yet"),
    ]:
        done = history(hydramesh, *arguments)
        assert done.returncode == status, done
        assert said in done.stderr and done.stderr.count("\n") == 1 and not done.stdout, done
    assert not list(tmp_path.iterdir())
    told = history(hydramesh, "--help")
    assert told.returncode == 0 and "--since" in told.stdout


def test_history_of_a_damaged_file_is_a_sentence(
    hydramesh: Head, storage: str, tmp_path: Path
) -> None:
    file = file_in(tmp_path, storage)
    file.write_bytes(b"no database" * 1000)
    done = history(hydramesh, "--state-dir", tmp_path, "--storage", storage)
    assert done.returncode == 1 and str(file) in done.stderr and done.stderr.count("\n") == 1
    assert file.exists()
