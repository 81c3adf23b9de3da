"""What hedging gains when workers stall now and then, and what it costs; a part of hydramesh.py.

Four workers answer short tasks, whose first part comes after 30 ms (the middle of a log-normal
distribution), and four more every 5 ms. One of the workers, or in a second run each of them, is
stuck for 2 s before the first part of 1 % of its tasks. Tasks come at random, at a rate for which
a third of the slots would do. Two heads, with `hedge_share` 0.05 and 0, each with workers of its
own, get the same tasks in turns of some seconds, after one by which they know how fast workers are.
"""

import asyncio
import contextlib
import math
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Step, WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess

WORKERS, SLOTS = 4, 8
FIRST, SPREAD = 0.030, 0.25
"""Seconds until the first part in the middle, and the deviation of its logarithm."""
PARTS, BETWEEN = 5, 0.005
STALL, STALLING = 2.0, 0.01
"""Seconds of a stall, and how many of a worker's tasks have one."""
RATE = 150.0
SHARE = 0.05
TURN = 6.0
SEED = 14


@dataclass
class Seen:
    """What became of the tasks of one head; times are seconds."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    hedged: int = 0
    won: int = 0
    worked: float = 0.0
    """What workers spent on them, without the time in which they were stuck."""
    head: float = 0.0
    """Its processor time."""

    def line(self, name: str) -> str:
        """Return all of it, for people."""
        tasks = len(self.whole)
        return (
            f"{name:16} first part {quantiles(self.first)}   whole {quantiles(self.whole)}   "
            f"run twice {self.hedged / tasks:5.1%}, of which the second won {self.won:4}   workers "
            f"{self.worked / tasks * 1e3:5.1f} ms a task   head {self.head / tasks * 1e6:4.0f} µs"
        )


def quantiles(of: list[float]) -> str:
    """Return the p50, p99 and p99.9 of times in seconds."""
    ordered = sorted(of)
    told = (ordered[math.ceil(share * len(ordered)) - 1] * 1e3 for share in (0.5, 0.99, 0.999))
    return "{:4.0f} {:5.0f} {:5.0f} ms".format(*told)


class StallingWorker:
    """A worker that is stuck with so many of its tasks; `worked` is what it spent working."""

    def __init__(self, stalling: float, seed: int) -> None:
        self.worked = 0.0
        self._stalling = stalling
        self._dice = random.Random(seed)

    def answer(self, task: pb.Task) -> Iterator[Step]:
        """Answer, and count the time from when it works until that is done or no longer wanted."""
        began = None
        try:
            if self._dice.random() < self._stalling:
                yield STALL
            began = time.monotonic()
            yield self._dice.lognormvariate(math.log(FIRST), SPREAD)
            identity = pb.ModelIdentity(weights="same")
            for number in range(len(task.resume.tokens), PARTS):
                yield pb.Result(text=f"{number} ", tokens=[number], model=identity)
                yield BETWEEN
            yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)
        finally:
            if began is not None:
                self.worked += time.monotonic() - began

    async def join(self, head: HeadProcess, number: int) -> WorkerStub:
        """Serve that head as the worker with that number."""
        stub = await WorkerStub.open(
            [head.address], worker_id=f"worker-{number}", models={"m": pb.LOADED}, slots=SLOTS
        )
        stub.scripts["m"] = self.answer
        stub.heartbeat.models[0].rate = 1 / BETWEEN
        stub.heartbeat.models[0].identity.weights = "same"
        stub.say()
        return stub


class Side:
    """A head with its workers; `seen` is what became of its tasks."""

    def __init__(
        self, head: HeadProcess, client: ClusterClient, workers: list[StallingWorker]
    ) -> None:
        self.head = head
        self.seen = Seen()
        self._client = client
        self._workers = workers
        self._dice = random.Random(SEED)

    async def _counted(self) -> tuple[int, int, float, float]:
        won = int(await self.head.metric("daiic_head_hedges_won_total"))
        worked = sum(worker.worked for worker in self._workers)
        return (await self._client.status()).tasks_hedged, won, worked, self.head.cpu_seconds()

    async def turn(self, seconds: float) -> None:
        """Have it do the tasks of one turn, and wait for the last."""
        hedged, won, worked, head = await self._counted()
        async with asyncio.TaskGroup() as tasks:
            due = time.monotonic()
            end = due + seconds
            while due < end:
                await asyncio.sleep(due - time.monotonic())
                tasks.create_task(self._ask(due))
                due += self._dice.expovariate(RATE)
        hedged_now, won_now, worked_now, head_now = await self._counted()
        self.seen.hedged += hedged_now - hedged
        self.seen.won += won_now - won
        self.seen.worked += worked_now - worked
        self.seen.head += head_now - head

    async def _ask(self, due: float) -> None:
        task = pb.Task(model="m", stream=True, text=pb.TextTask(prompt="x", max_tokens=PARTS))
        first = 0.0
        async for _ in self._client.run(task):
            first = first or time.monotonic() - due
        self.seen.first.append(first)
        self.seen.whole.append(time.monotonic() - due)


@contextlib.asynccontextmanager
async def side(kind: heads.Head, share: float, stalling: int) -> AsyncIterator[Side]:
    """Run a head whose first workers, so many, stall. It sets none aside for that."""
    async with (
        HeadProcess(kind=kind, storage="none", hedge_share=share, set_aside_after=0) as head,
        ClusterClient([head.address]) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        workers = []
        for number in range(WORKERS):
            worker = StallingWorker(STALLING if number < stalling else 0.0, SEED + number)
            stub = await worker.join(head, number)
            stack.push_async_callback(stub.close, polite=False)
            workers.append(worker)
        await head.wait_for_workers(WORKERS)
        yield Side(head, client, workers)


async def measure_late_tasks(kind: heads.Head, seconds: float, *, realtime: bool) -> None:
    """Run both heads for so many seconds each, and print what became of their tasks."""
    if realtime:
        # Processes that this one starts inherit it.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    for stalling in (1, WORKERS):
        print(f"-- {stalling} of {WORKERS} workers stall {STALL:.0f} s on {STALLING:.0%} of tasks")
        async with side(kind, 0.0, stalling) as plain, side(kind, SHARE, stalling) as hedging:
            for one in (plain, hedging):
                await one.turn(TURN / 2)
                one.seen = Seen()
            for _ in range(round(seconds / TURN)):
                for one in (plain, hedging):
                    await one.turn(TURN)
        print(f"{len(hedging.seen.whole):,} tasks each; p50, p99, p99.9")
        print(plain.seen.line("without hedging"))
        print(hedging.seen.line("with hedging"), flush=True)
