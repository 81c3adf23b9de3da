"""A plugin that cannot work: HydraMesh says so wherever somebody looks, and goes on."""

import asyncio
import ctypes.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from support.peers.cast import Cast
from support.processes import heads
from support.processes.head_process import HeadProcess
from support.processes.notify_socket import NotifySocket

RESULT, TASK = MessageType.RESULT, MessageType.TASK
DISABLED = 'hydramesh_plugins{plugin="streamdb",state="disabled",version="1.0.0"} 1'
RUNNING = 'hydramesh_plugins{plugin="streamdb",state="running",version="1.0.0"} 1'
IDLE = 'hydramesh_plugins{plugin="streamdb",state="idle",version="1.0.0"} 1'


async def do_a_task(head: HeadProcess, cast: Cast) -> None:
    model = pb.ModelStatus(name=cast.model, kind=pb.TEXT, state=pb.LOADED)
    worker = await cast.worker(head, models=[model])
    client = await cast.client(head)
    client.send(TASK, cast.task(1))
    await worker.answer(await worker.next(TASK), "x")
    assert (await client.next(RESULT)).text == "x"


def plugins_in_a_session(hydramesh: heads.Head, socket: Path, form: str = "(plugins)") -> str:
    return subprocess.run(
        [*hydramesh.command, "repl", "--socket", socket],
        input=form,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.fixture(params=["missing", "no library", "another library"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """What is named as StreamDB's library, and what the head says of it."""
    cannot = "cannot be loaded: install libstreamdb, or set HYDRAMESH_LIBSTREAMDB to it"
    if request.param == "missing":
        yield str(tmp_path / "libstreamdb.so"), cannot
    elif request.param == "no library":
        (tmp_path / "libstreamdb.so").write_text("this is no library")
        yield str(tmp_path / "libstreamdb.so"), cannot
    else:
        other = ctypes.util.find_library("c")
        assert other
        yield other, "is another library than StreamDB's C edition: it has no streamdb_init"


async def test_a_library_that_is_unusable_is_told_everywhere_and_tasks_go_on(
    hydramesh: heads.Head,
    tmp_path: Path,
    cast: Cast,
    notify: NotifySocket,
    unusable: tuple[str, str],
) -> None:
    library, reason = unusable
    socket = tmp_path / "private" / "repl"
    socket.parent.mkdir(mode=0o700)
    environment = {"HYDRAMESH_LIBSTREAMDB": library, "NOTIFY_SOCKET": str(notify.path)}
    async with HeadProcess(
        environment,
        kind=hydramesh,
        storage="streamdb",
        state_dir=tmp_path / "state",
        repl_socket=socket,
    ) as head:
        assert "a plugin is disabled; the head goes on without it" in head.log
        assert head.log.count(reason) >= 1, head.log
        assert "Backtrace" not in head.log and "a fault" not in head.log
        await do_a_task(head, cast)
        _, metrics = await head.get("/metrics")
        assert DISABLED in metrics
        assert await head.metric("hydramesh_recording") == 0
        shown = await asyncio.to_thread(plugins_in_a_session, hydramesh, socket)
        assert "streamdb" in shown and "disabled" in shown and reason in shown
        status = await asyncio.to_thread(plugins_in_a_session, hydramesh, socket, "(status)")
        told = "the library" if "loaded" in reason else f"{library} {reason}"
        assert f"plugin streamdb disabled: {told}" in status
        await notify.hears(
            f"STATUS=1 worker, 0 tasks in flight, 0 queued; plugin streamdb disabled: {told}"
        )
    history = subprocess.run(
        [*hydramesh.command, "history", "--state-dir", tmp_path / "state", "--storage=streamdb"],
        env={**os.environ, **hydramesh.environment, "HYDRAMESH_LIBSTREAMDB": library},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert history.returncode == 1 and "nothing has been recorded yet" in history.stderr


async def test_a_library_that_comes_later_is_used(
    hydramesh: heads.Head, tmp_path: Path, cast: Cast
) -> None:
    library = os.environ.get("HYDRAMESH_LIBSTREAMDB", "libstreamdb.so")
    try:
        ctypes.CDLL(library)
    except OSError as error:
        pytest.skip(f"StreamDB's library is not here; HYDRAMESH_LIBSTREAMDB names it: {error}")
    later = tmp_path / "later.so"
    async with HeadProcess(
        {"HYDRAMESH_LIBSTREAMDB": str(later)},
        kind=hydramesh,
        storage="streamdb",
        state_dir=tmp_path / "state",
    ) as head:
        assert DISABLED in (await head.get("/metrics"))[1]
        later.symlink_to(Path(library).resolve() if "/" in library else library)
        await head.says("figures are recorded again")
        assert RUNNING in (await head.get("/metrics"))[1]
        await do_a_task(head, cast)
        assert await head.metric("hydramesh_recording") == 1


async def test_who_asks_for_no_plugin_has_none_running(hydramesh: heads.Head, cast: Cast) -> None:
    async with HeadProcess(kind=hydramesh) as head:
        assert IDLE in (await head.get("/metrics"))[1]
        assert "plugin" not in head.log
    version = subprocess.run(
        [*hydramesh.command, "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert version[0].startswith("hydramesh ") and "plugin streamdb 1.0.0" in version[1:]
