"""A model that two workers compute in slices, beside the same model on one: time and traffic.

All are on this machine and meet on loopback, so that the slices share the cores that the whole
model has alone; what a token costs the network is what it would cost between machines.

    python tests/bench/slices.py [--layers N] [--tokens N] [--rounds N]

`CPU` is the processor time of all that compute, per token, and `sent` what the ranks wrote to their
connections, per token, by the kernel's own count. The ways take turns; the median of the rounds
counts.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.models import random_qwen3
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess

PROMPT = "the quick brown fox "
RANK = "daiic.worker.slices.process"


class Figures(NamedTuple):
    """Of one answer, per token: seconds, seconds of processors, bytes sent between ranks."""

    seconds: float
    cpu: float
    sent: float


def worker(head: HeadProcess, folder: Path, name: str) -> Daemon:
    """Return a worker called `name` with the models in `folder`."""
    return Daemon(
        "daiic-worker",
        listen="127.0.0.1:0",
        http_listen="127.0.0.1:0",
        heads=head.address,
        name=name,
        state_dir=folder / f"{name}-state",
        models_dir=folder / "models",
        backend="cpu",
        threads=1,
        quantization="none",
        precision="float32",
        shard_interface="lo",
        allow_downloads=False,
    )


def ranks(*workers: Daemon) -> list[psutil.Process]:
    """Return the processes that compute slices for `workers`."""
    children = [c for one in workers for c in psutil.Process(one.pid).children(recursive=True)]
    return [child for child in children if RANK in " ".join(child.cmdline())]


def sent(processes: list[psutil.Process]) -> int:
    """Return the bytes that the connections of `processes` have carried away."""
    pids = {f"pid={process.pid}," for process in processes}
    told = subprocess.run(["ss", "-tinpOH"], capture_output=True, text=True, check=True).stdout
    return sum(
        int(number)
        for line in told.splitlines()
        if any(pid in line for pid in pids)
        for number in re.findall(r"\bbytes_sent:(\d+)", line)
    )


def cpu(processes: list[psutil.Process]) -> float:
    """Return the processor time that `processes` have taken."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


async def measured(
    client: ClusterClient, task: pb.Task, computing: Callable[[], list[psutil.Process]]
) -> Figures:
    """Return what `task` costs, from its first token on."""
    tokens = 0
    began: tuple[float, float, int] | None = None
    async for part in client.run(task):
        if began is None and part.tokens:
            processes = computing()
            began = time.perf_counter(), cpu(processes), sent(processes)
        elif began is not None:
            tokens += len(part.tokens)
    assert began is not None
    return Figures(
        (time.perf_counter() - began[0]) / tokens,
        (cpu(processes) - began[1]) / tokens,
        (sent(processes) - began[2]) / tokens,
    )


async def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        (folder / "models").mkdir()
        random_qwen3.write(folder / "models" / "m", folder / "m.gguf", layers=wanted.layers)
        (folder / "m.gguf").unlink()
        head = await running.enter_async_context(HeadProcess())
        whole, first, second = [
            await running.enter_async_context(worker(head, folder, name))
            for name in ("whole", "first", "second")
        ]
        address = await second.says(r"computing slices for others .*listen=(\S+)", 300)
        await first.says("computing slices for others", 300)
        ids = [one.said(r"starting .*\bid=(\w+)") for one in (whole, first, second)]
        plan = pb.ShardPlan(members=[pb.ShardMember(worker_id=ids[2], address=address, bytes=1)])
        text = pb.TextTask(prompt=PROMPT, max_tokens=wanted.tokens, temperature=0)
        ways = {
            "whole": (
                whole,
                pb.Task(model="m", text=text, stream=True),
                lambda: [psutil.Process(whole.pid)],
            ),
            "2 slices": (
                first,
                pb.Task(model="m", text=text, shards=plan, stream=True),
                lambda: ranks(first, second),
            ),
        }
        figures: dict[str, list[Figures]] = {name: [] for name in ways}
        # Heads take no plans, and would make none where the model fits.
        clients = {
            name: await running.enter_async_context(ClusterClient([asked.address]))
            for name, (asked, _, _) in ways.items()
        }
        for name, (_, task, computing) in ways.items():
            await measured(clients[name], task, computing)  # which loads it
        for _ in range(wanted.rounds):
            for name, (_, task, computing) in ways.items():
                figures[name].append(await measured(clients[name], task, computing))
    print(f"{wanted.layers} layers, one thread a process, {wanted.tokens} tokens a text")
    for name, rounds in figures.items():
        seconds, spent, traffic = (
            statistics.median(column) for column in zip(*rounds, strict=True)
        )
        print(
            f"{name:10} {1 / seconds:6.1f} tokens/s  CPU {spent * 1000:6.1f} ms  "
            f"sent {traffic / 1024:7.1f} KiB"
        )


if __name__ == "__main__":
    asyncio.run(main())
