"""What it gains that HydraMesh prefers near workers for short tasks; a part of hydramesh.py.

Of four workers, two are beside the head and two behind a seeded relay that takes each datagram 40
± 5 ms. They make 50 tokens a second. Short tasks (10 tokens) come at random, 8 a second, and long
ones (300 tokens) every two seconds; all is the same in both runs but `group_threshold`: 50 ms, and
an hour, by which all workers are near.
"""

import asyncio
import contextlib
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.links.lossy_relay import Conditions, LossyRelay
from support.peers.worker_stub import TOKEN_INTERVAL, WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess

FAR = Conditions(delay=0.040, jitter=0.005)
SLOTS = 8
SHORT, LONG = 10, 300
SHORT_RATE, LONG_EVERY = 8.0, 2.0
SEED = 14
SETTLE = 3.0
"""Seconds in which the head measures how far its workers are."""


@dataclass
class Seen:
    """What became of tasks of one length: who served them, and how long they took, seconds."""

    served: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    @property
    def near(self) -> float:
        """The share that near workers served."""
        near = sum(count for worker, count in self.served.items() if worker.startswith("near"))
        return near / self.served.total()


def times(of: list[float]) -> str:
    """Return what is told of times in seconds."""
    tenths, mean = statistics.quantiles(of, n=10), statistics.fmean(of)
    return f"mean {mean * 1e3:4.0f}, p50 {tenths[4] * 1e3:4.0f}, p90 {tenths[8] * 1e3:4.0f} ms"


async def measure_near_and_far(kind: heads.Head, seconds: float) -> None:
    """Run it with and without groups, and print both."""
    print(f"-- two workers at hand, two {2 * FAR.delay * 1e3:.0f} ms away")
    for name, threshold in (("in groups of 50 ms", 0.05), ("all in one group", 3600.0)):
        short, long = await run(kind, threshold, seconds)
        print(
            f"{name:20} served near: {short.near:4.0%} of short tasks, {long.near:4.0%} of long"
            f"   first part of a short one {times(short.first)}, whole {times(short.whole)}",
            flush=True,
        )


async def run(kind: heads.Head, threshold: float, seconds: float) -> tuple[Seen, Seen]:
    """Return what became of the short tasks, and of the long ones."""
    async with (
        HeadProcess(kind=kind, storage="none", group_threshold=threshold) as head,
        await LossyRelay.start(head.host_port, FAR, seed=SEED) as relay,
        ClusterClient([head.address]) as client,
        contextlib.AsyncExitStack() as workers,
    ):
        far = f"{relay.address[0]}:{relay.address[1]}"
        for name, address in (
            ("far-1", far),
            ("near-1", head.address),
            ("far-2", far),
            ("near-2", head.address),
        ):
            worker = await WorkerStub.open(
                [address], worker_id=name, models={"count": pb.LOADED}, slots=SLOTS
            )
            workers.push_async_callback(worker.close, polite=False)
            worker.heartbeat.models[0].rate = 1 / TOKEN_INTERVAL
            worker.say()
        await head.wait_for_workers(4)
        await asyncio.sleep(SETTLE)
        short, long = Seen(), Seen()
        async with asyncio.TaskGroup() as tasks:
            dice = random.Random(SEED)
            due, long_due, end = time.monotonic(), time.monotonic(), time.monotonic() + seconds
            while due < end:
                await asyncio.sleep(due - time.monotonic())
                if due >= long_due:
                    tasks.create_task(ask(client, LONG, long))
                    long_due += LONG_EVERY
                tasks.create_task(ask(client, SHORT, short))
                due += dice.expovariate(SHORT_RATE)
        return short, long


async def ask(client: ClusterClient, tokens: int, seen: Seen) -> None:
    """Ask for so many tokens, and note what came of it."""
    task = pb.Task(model="count", stream=True, text=pb.TextTask(prompt="x", max_tokens=tokens))
    began, first = time.monotonic(), 0.0
    worker = ""
    async for part in client.run(task):
        first = first or time.monotonic() - began
        worker = part.worker_id or worker
    seen.first.append(first)
    seen.whole.append(time.monotonic() - began)
    seen.served[worker] += 1
