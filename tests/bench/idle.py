"""What a cluster costs that nobody uses: processor time and wake-ups of each daemon.

A worker that has a model loaded in llama-server reports to `daiic-head`, which a gateway and a shim
watch; HydraMesh has a cluster of its own, with a worker without models. After a while to settle all
are left alone for the time of the measurement.

    python tests/bench/idle.py [--seconds S]

`a core` is the share of one core's time, by the scheduler's own count of nanoseconds, and
`wake-ups` how many times a second its threads went to sleep of themselves.
"""

import argparse
import asyncio
import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil

from support.llama_cpp.running import PROGRAMS
from support.models import tiny_gguf
from support.processes import built, heads
from support.processes.daemon import Daemon
from support.processes.gateway_process import RunningGateway
from support.processes.head_process import HeadProcess

SETTLE = 5.0
"""Seconds after everything is ready, in which caches are filled and connections made."""


class Used(NamedTuple):
    """What a process has taken so far: nanoseconds of processors, and wake-ups."""

    nanoseconds: int
    wakes: int


def used(pid: int) -> Used:
    """Return what all threads of a process took together."""
    nanoseconds = wakes = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((thread / "schedstat").read_text().split()[0])
        status = (thread / "status").read_text()
        wakes += int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])
    return Used(nanoseconds, wakes)


def worker(head: HeadProcess, folder: Path, **settings: object) -> Daemon:
    """Return a worker of `head` with state and models in `folder`."""
    return Daemon(
        "daiic-worker",
        environment={"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        listen="127.0.0.1:0",
        http_listen="127.0.0.1:0",
        heads=head.address,
        state_dir=folder / "state",
        models_dir=folder,
        backend="cpu",
        allow_downloads=False,
        **settings,
    )


async def main() -> None:
    """Print a line for each process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    async with contextlib.AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        with_model = (PROGRAMS / "llama-server").exists()
        if with_model:
            tiny_gguf.chat_model(folder / "chat.gguf")
        else:
            print("without a model: tests/support/llama_cpp/fetch.sh .venv/llama.cpp has not run")
        started: dict[str, Daemon] = {}

        async def start(name: str, daemon: Daemon) -> None:
            started[name] = await running.enter_async_context(daemon)

        head = await running.enter_async_context(HeadProcess(kind=heads.find(heads.DAIIC_HEAD)))
        started["daiic-head"] = head
        models = ["chat.gguf"] if with_model else []
        await start("daiic-worker", worker(head, folder, models=models))
        gateway = RunningGateway(
            "daiic-gateway",
            listen="127.0.0.1:0",
            http_listen="",
            heads=head.address,
            state_dir="",
        )
        await start("daiic-gateway", gateway)
        with contextlib.suppress(built.CannotBuildError):
            built.rust("build", "--release", "--package", "dcf-shim")
            program = built.WORKSPACE / "target/release/dcf-shim"
            shim = Daemon(
                program, listen="127.0.0.1:0", http_listen="127.0.0.1:0", heads=head.address
            )
            await start("dcf-shim", shim)
        with contextlib.suppress(built.CannotBuildError):
            hydramesh = await running.enter_async_context(
                HeadProcess(kind=heads.hydramesh("release"))
            )
            started["hydramesh"] = hydramesh
            await running.enter_async_context(worker(hydramesh, folder / "other"))
            await hydramesh.wait_for_workers(1)
        await started["daiic-worker"].until_ready()
        await gateway.ready()
        pids = {name: daemon.pid for name, daemon in started.items()}
        for child in psutil.Process(pids["daiic-worker"]).children(recursive=True):
            if "llama" in " ".join(child.cmdline()):
                pids["llama-server"] = child.pid
        await asyncio.sleep(SETTLE)
        before = {name: used(pid) for name, pid in pids.items()}
        await asyncio.sleep(seconds)
        print(f"{'':16}{'a core':>10}{'wake-ups/s':>12}")
        for name, pid in pids.items():
            after = used(pid)
            share = (after.nanoseconds - before[name].nanoseconds) / (seconds * 1e9)
            wakes = (after.wakes - before[name].wakes) / seconds
            print(f"{name:16}{share:>10.3%}{wakes:>12.1f}")


if __name__ == "__main__":
    asyncio.run(main())
