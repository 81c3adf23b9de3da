"""HydraMesh beside `daiic-head`, in one run: what each adds to a task, and how many it can do.

    python tests/bench/hydramesh.py [--seconds S] [--runs N] [--heads daiic-head,hydramesh]
                                    [--only start,saturation,latency,decisions,groups,sync,hedging]
                                    [--realtime]

The head that is measured has core 0 for itself; client, worker and, where they are named, 1,000
more workers that send heartbeats share core 1. Those are C on libdcf (head_load.c), and what they
take of their core is printed too, so that it can be seen that the head is what limits the rate.

A task is due at a time that does not depend on the one before, and what it takes counts from then.
`added` is what the way through the head takes more than the same task from client straight to
worker, in bare round trips: those of a datagram to a process on core 0 that only sends it back, at
the same rate. Of several runs the one with the middle p99.9 is printed. With --realtime whatever
else runs on the machine has to wait, as it would if the head had a core for itself.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import decisions
from bench.heads_apart import measure_heads
from bench.late_tasks import measure_late_tasks
from bench.near_and_far import measure_near_and_far
from daiic.wire import daiic_pb2 as pb
from support.processes import built, heads
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess

HERE = Path(__file__).parent
RATES = 1_000, 10_000
OUTSTANDING = 512
CROWD = 1_000
STARTS = 5
BEAT = pb.Heartbeat(
    worker_id="bench",
    incarnation=1,
    name="bench",
    version="bench",
    state=pb.READY,
    backend=pb.CPU,
    device="none",
    slots=4096,
    models=[pb.ModelStatus(name="echo", kind=pb.TEXT, state=pb.LOADED, rate=100)],
)
CROWD_BEAT = pb.Heartbeat(
    name="one of many",
    version="bench",
    state=pb.READY,
    backend=pb.CUDA,
    device="NVIDIA GeForce RTX 3090",
    vram=pb.Memory(total=24 << 30, free=8 << 30),
    ram=pb.Memory(total=64 << 30, free=32 << 30),
    slots=8,
    heads=["127.0.0.1:7717"],
    models=[
        pb.ModelStatus(name=f"someone/model-{number}", kind=pb.TEXT, state=pb.LOADED, rate=40)
        for number in range(3)
    ],
)
TASK = pb.Task(model="echo", text=pb.TextTask(prompt="hello", seed=1))
ANSWER = pb.Result(final=True, text="hello", worker_id="bench", finish_reason=pb.FINISH_REASON_STOP)


def hexadecimal(message: pb.Task | pb.Result | pb.Heartbeat) -> str:
    return message.SerializeToString().hex()


@dataclass
class Measured:
    """What one client saw, microseconds; and what the processes between took."""

    rate: float
    sent: int
    answered: int
    failed: int
    cpu: float
    p50: float
    p99: float
    p999: float
    most: float
    wall: float = 0.0
    head_cpu: float = 0.0
    worker_cpu: float = 0.0


class Bench:
    """The processes of one run."""

    def __init__(self, options: argparse.Namespace, load: str) -> None:
        self.options = options
        self.load = load

    def pinned(self, core: int, *command: object) -> list[str]:
        """Return what runs a command on that core, before all else there if that is asked for."""
        priority = ["chrt", "-R", "-f", "1"] if self.options.realtime else []
        return [*priority, "taskset", "-c", str(core), *map(str, command)]

    def process(self, core: int, *words: object) -> Daemon:
        return Daemon(*self.pinned(core, self.load, *words))

    async def client(
        self, to: str, task: str, rate: int, seconds: float, between: list[Daemon]
    ) -> Measured:
        before, began = [daemon.cpu_seconds() for daemon in between], time.perf_counter()
        words = ["client", to.rpartition(":")[2], task, rate, seconds, OUTSTANDING]
        done = await asyncio.create_subprocess_exec(
            *self.pinned(1, self.load, *words), stdout=subprocess.PIPE
        )
        said, _ = await done.communicate()
        assert done.returncode == 0, said
        measured = Measured(**json.loads(said.splitlines()[-1]))
        measured.wall = time.perf_counter() - began
        used = [daemon.cpu_seconds() - at for daemon, at in zip(between, before, strict=True)]
        measured.head_cpu, measured.worker_cpu = [*used, 0.0, 0.0][:2]
        return measured

    async def middle(
        self, to: str, task: str, rate: int, between: list[Daemon] | None = None
    ) -> Measured:
        """Return the run with the middle p99.9."""
        runs = [
            await self.client(to, task, rate, self.options.seconds, between or [])
            for _ in range(self.options.runs)
        ]
        return sorted(runs, key=lambda run: run.p999)[len(runs) // 2]

    @contextlib.asynccontextmanager
    async def cluster(
        self, kind: heads.Head, crowd: int
    ) -> AsyncIterator[tuple[HeadProcess, Daemon]]:
        pinned = heads.Head(kind.name, tuple(self.pinned(0, *located(kind))), kind.environment)
        async with HeadProcess(kind=pinned, queue_size=1 << 16) as head:
            port = head.host_port[1]
            async with self.process(
                1, "worker", port, hexadecimal(BEAT), hexadecimal(ANSWER)
            ) as worker:
                if crowd:
                    async with self.process(1, "crowd", port, hexadecimal(CROWD_BEAT), crowd):
                        await head.wait_for_workers(crowd + 1)
                        yield head, worker
                else:
                    await head.wait_for_workers(1)
                    yield head, worker


def located(kind: heads.Head) -> tuple[str, ...]:
    """Return the command with its path, as taskset takes it."""
    program, *rest = kind.command
    beside = Path(sys.executable).parent / program
    return (str(beside if beside.exists() else program), *rest)


def shown(of: Measured) -> str:
    return f"p50 {of.p50:8.0f}  p99 {of.p99:8.0f}  p99.9 {of.p999:8.0f}  most {of.most:8.0f} µs"


def added(through: Measured, direct: Measured, bare: Measured, rate: int) -> str:
    if through.failed or through.rate < 0.98 * rate:
        return f"it cannot: {through.rate:.0f} tasks/s, {through.failed} of {through.sent} refused"
    more = through.p50 - direct.p50, through.p99 - direct.p99, through.p999 - direct.p999
    trips = " ".join(f"{value / bare.p50:6.1f}" for value in more)
    return f"added {more[0]:6.0f} {more[1]:7.0f} {more[2]:8.0f} µs = {trips} bare round trips"


async def measure_latency(bench: Bench, kinds: list[heads.Head]) -> None:
    for rate in RATES:
        print(f"-- {rate:,} tasks/s")
        async with bench.process(0, "echo") as echo:
            bare = await bench.middle(echo.address, "-", rate)
        print(f"{'bare round trip':28} {shown(bare)}")
        async with bench.process(1, "worker", 0, hexadecimal(BEAT), hexadecimal(ANSWER)) as worker:
            direct = await bench.middle(worker.address, hexadecimal(TASK), rate)
        print(f"{'straight to the worker':28} {shown(direct)}")
        for kind in kinds:
            for crowd in (0, CROWD):
                async with bench.cluster(kind, crowd) as (head, worker):
                    through = await bench.middle(
                        head.address, hexadecimal(TASK), rate, [head, worker]
                    )
                    name = kind.name + (f", {crowd:,} workers" if crowd else "")
                    print(
                        f"{name:28} {shown(through)}   {added(through, direct, bare, rate)}"
                        f"   core of the head {through.head_cpu / through.wall:4.0%}",
                        flush=True,
                    )


async def measure_saturation(bench: Bench, kinds: list[heads.Head]) -> None:
    print(f"-- saturation, {OUTSTANDING} tasks under way")
    rates: dict[str, float] = {}
    for kind in kinds:
        for crowd in (0, CROWD):
            async with bench.cluster(kind, crowd) as (head, worker):
                rest = head.rss()
                runs = [
                    await bench.client(
                        head.address, hexadecimal(TASK), 0, bench.options.seconds, [head, worker]
                    )
                    for _ in range(bench.options.runs)
                ]
                full = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
                wall, tasks = full.wall, full.answered
                name = kind.name + (f", {crowd:,} workers" if crowd else "")
                rates.setdefault(kind.name, full.rate)
                print(
                    f"{name:28} {full.rate:7.0f} tasks/s   processor a task: head "
                    f"{full.head_cpu / tasks * 1e6:5.1f} µs of {wall / tasks * 1e6:5.1f} µs, "
                    f"worker {full.worker_cpu / tasks * 1e6:4.1f}, client "
                    f"{full.cpu / tasks * 1e6:4.1f}   {shown(full)}   failed: {full.failed}"
                )
                print(
                    f"{'':28} memory: {rest / 1e6:.0f} MB before, {head.rss() / 1e6:.0f} MB after, "
                    f"{head.rss(peak=True) / 1e6:.0f} MB at the most",
                    flush=True,
                )
    if len(rates) == 2:
        python, lisp = rates[heads.DAIIC_HEAD], rates[heads.HYDRAMESH]
        print(f"hydramesh does {lisp / python:.1f} times the tasks of daiic-head")


async def measure_start(kinds: list[heads.Head]) -> None:
    print(f"-- start, the middle of {STARTS}, and memory at rest")
    for kind in kinds:
        times, sizes = [], []
        for _ in range(STARTS):
            async with HeadProcess(kind=kind) as head:
                times.append(head.started_in)
                await asyncio.sleep(0.5)
                sizes.append(head.rss())
        print(
            f"{kind.name:28} {sorted(times)[STARTS // 2] * 1e3:5.0f} ms   "
            f"{sorted(sizes)[STARTS // 2] / 1e6:4.0f} MB",
            flush=True,
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--heads", default=f"{heads.DAIIC_HEAD},{heads.HYDRAMESH}")
    parser.add_argument("--only", default="start,saturation,latency,decisions,groups,sync,hedging")
    parser.add_argument("--realtime", action="store_true", help="what else runs waits (needs root)")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this bench needs two cores: one for the head, one for the rest")
    kinds = []
    for name in options.heads.split(","):
        try:
            kinds.append(
                heads.hydramesh("release") if name == heads.HYDRAMESH else heads.find(name)
            )
        except built.CannotBuildError as error:
            print(f"{name} is left out: {error}")
    print(f"cores {os.cpu_count()}, load average before {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as name:
        load = f"{name}/head_load"
        library = Path(built.libdcf("release"))
        include = built.WORKSPACE / "dcf/include"
        command = ["cc", "-O2", "-o", load, HERE / "head_load.c", f"-I{include}", str(library)]
        subprocess.run([*command, f"-Wl,-rpath,{library.parent}"], check=True)
        bench = Bench(options, load)
        if "start" in options.only:
            await measure_start(kinds)
        if "saturation" in options.only:
            await measure_saturation(bench, kinds)
        if "latency" in options.only:
            await measure_latency(bench, kinds)
        for kind in kinds:
            if kind.name == heads.HYDRAMESH:
                if "decisions" in options.only:
                    decisions.measure_hydramesh()
                if "groups" in options.only:
                    await measure_near_and_far(kind, 12 * options.seconds)
                if "sync" in options.only:
                    await measure_heads(kind, 4 * options.seconds, options.runs)
                if "hedging" in options.only:
                    await measure_late_tasks(kind, 8 * options.seconds, realtime=options.realtime)
            elif "decisions" in options.only:
                decisions.measure_daiic_head()


if __name__ == "__main__":
    asyncio.run(main())
