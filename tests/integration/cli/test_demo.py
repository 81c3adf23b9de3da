"""The README's first command, on the models that come with the project."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from daiic.tether import tethered
from support.processes import built, heads

MODELS = Path(__file__).parents[3] / "local-models"
PATIENCE = 240.0
"""Seconds for what takes 5 on an idle machine."""


class Demo:
    """A running `daiic demo`; `said` is what it wrote so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def says(self, words: str) -> None:
        """Wait until it has said `words`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while words not in self.said:
                read = await self.process.stdout.read(4096)
                assert read, self.said
                self.said += read.decode(errors="replace")

    def daemons(self) -> list[int]:
        """The processes that it started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in children.read_text().split()]

    async def has_started(self) -> list[int]:
        """Wait until it has started all its daemons; return them."""
        await until(lambda: sum(map(is_daemon, self.daemons())) == 4)
        return self.daemons()

    async def ends(self) -> int:
        """Wait until it has ended; return its exit status."""
        await asyncio.wait_for(self.process.communicate(), 60)
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.fixture
async def demo(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Demo]:
    name = getattr(request, "param", heads.DAIIC_HEAD)
    with built.or_skip(name):
        head = heads.find(name)
    flags = ("--models-dir", MODELS, "--head", name)
    process = await asyncio.create_subprocess_exec(
        *tethered(Path(sys.executable).with_name("daiic"), "demo", *flags),
        cwd=tmp_path,
        # A demo that is started with the signal ignored, as by nohup, keeps that.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        env={
            **os.environ,
            **head.environment,
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(tmp_path),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    yield Demo(process)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def status(pid: int) -> dict[str, str]:
    """What /proc says of a process; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    found = dict(line.split(":\t", 1) for line in lines)
    # An orphan may wait for the machine's init to notice its end.
    return {} if found["State"].startswith("Z") else found


def gone(daemons: list[int]) -> bool:
    return not any(map(status, daemons))


def is_daemon(pid: int) -> bool:
    return status(pid).get("Name", "").startswith("daiic-")


def is_asked_to_stop(daemon: int) -> bool:
    return bool(int(status(daemon).get("ShdPnd", "0"), 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("demo", [heads.DAIIC_HEAD, heads.HYDRAMESH], indirect=True)
async def test_demo_answers_paints_and_leaves_nothing_behind(
    demo: Demo, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await demo.says("Ctrl-C stops it")
    daemons = demo.daemons()
    assert len(daemons) == 4
    demo.process.send_signal(signal.SIGINT)
    await demo.ends()
    assert gone(daemons)
    answer = " ".join(demo.said.split())
    assert "an AI cluster out of ordinary machines" in answer  # to "What is DAIIC?"
    by_type = request.node.callspec.params["demo"] == heads.DAIIC_HEAD
    assert ("0x02 TASK" if by_type else "│ messages ") in demo.said
    assert (tmp_path / "daiic-demo.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("daiic-demo-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_demo_stops_its_cluster_at(
    demo: Demo, tmp_path: Path, number: signal.Signals
) -> None:
    daemons = await demo.has_started()
    demo.process.send_signal(number)
    await demo.ends()
    assert gone(daemons)
    assert not list(tmp_path.glob("daiic-demo-*"))


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT)]
)
async def test_a_second_signal_ends_the_demo_at_once_and_nothing_is_left(
    demo: Demo, tmp_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    daemons = await demo.has_started()
    for daemon in daemons:
        os.kill(daemon, signal.SIGSTOP)  # so that none ends when asked to
    demo.process.send_signal(first)
    await until(lambda: any(map(is_asked_to_stop, daemons)))
    demo.process.send_signal(second)
    await demo.ends()
    assert gone(daemons)
    assert not list(tmp_path.glob("daiic-demo-*"))


async def test_daemons_do_not_outlive_a_killed_demo(demo: Demo) -> None:
    daemons = await demo.has_started()
    demo.process.kill()
    await until(lambda: gone(daemons))
