"""What the head costs: latency that it adds at 1, 100 and 1,000 tasks/s, tasks/s at saturation,
and what a large answer takes.

One process is client and worker stub at once, another the head, so that two cores suffice. The
same load without a head, from the client's socket straight to the stub's, is what is taken off.
"""

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import resolve
from daiic.wire.events import Event, Message
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp import MeshSocket
from support.peers.worker_stub import WorkerStub
from support.processes.head_process import HeadProcess

RATES = {1: 10, 100: 500, 1000: 5000}
"""Tasks a second, and how many of them are measured."""
SATURATION_SECONDS = 5.0
OUTSTANDING = 512
SLOTS = 1024
LARGE = 4096, 4096
"""Width and height of a picture of the stub's, a byte a pixel."""
LARGE_ANSWERS = 10


class Load:
    """A client that costs little; `latencies` are in seconds."""

    def __init__(self, to: Address) -> None:
        self.to = to
        self.latencies: list[float] = []
        self.failed = 0
        self.refill = False
        self._sent: dict[int, float] = {}
        self._next_id = int(time.time() * 1e6)
        self._idle = asyncio.Event()
        self.socket: MeshSocket

    async def open(self) -> "Load":
        self.socket = await MeshSocket.open("127.0.0.1:0", on_events=self._on_events)
        return self

    def send(self) -> None:
        self._send(pb.Task(model="echo", text=pb.TextTask(prompt="hello", seed=1)))

    def send_large(self) -> None:
        width, height = LARGE
        work = pb.ImageTask(width=width, height=height, seed=1)
        self._send(pb.Task(model="picture", image=work))

    def _send(self, task: pb.Task) -> None:
        self._next_id += 1
        task.id = self._next_id
        self._sent[task.id] = time.perf_counter()
        self.socket.send(self.to, MessageType.TASK, task.SerializeToString())

    async def at_rate(self, rate: int, count: int) -> None:
        """Send `count` tasks, evenly spaced, and wait for their answers."""
        start = time.perf_counter()
        for number in range(count):
            wait = start + number / rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            self.send()
        await self.answered()

    async def saturate(self, seconds: float, outstanding: int) -> float:
        """Keep `outstanding` tasks under way; return tasks a second."""
        self.refill = True
        start = time.perf_counter()
        for _ in range(outstanding):
            self.send()
        await asyncio.sleep(seconds)
        self.refill = False
        await self.answered()
        return len(self.latencies) / (time.perf_counter() - start)

    async def answered(self) -> None:
        while self._sent:
            self._idle.clear()
            await self._idle.wait()

    def _on_events(self, events: list[Event]) -> None:
        now = time.perf_counter()
        for event in events:
            if not isinstance(event, Message):
                continue
            if event.message_type == MessageType.RESULT:
                task_id = pb.Result.FromString(event.payload).id
            else:
                task_id = pb.Error.FromString(event.payload).id
                self.failed += 1
            self.latencies.append(now - self._sent.pop(task_id))
            if self.refill:
                self.send()
        if not self._sent:
            self._idle.set()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def shown(values: list[float]) -> str:
    middle, high = statistics.median(values), percentile(values, 0.99)
    return f"p50 {middle * 1e3:6.3f} ms  p99 {high * 1e3:6.3f} ms"


async def measure() -> None:
    async with HeadProcess() as head:
        stub = await WorkerStub.open([head.address], slots=SLOTS)
        await head.wait_for_workers(1)
        targets = {"direct": await resolve(stub.address), "head": await resolve(head.address)}
        for rate, count in RATES.items():
            seen: dict[str, list[float]] = {}
            for way, to in targets.items():
                load = await Load(to).open()
                await load.at_rate(rate, count)
                seen[way] = load.latencies
                await load.socket.close()
            added = [
                percentile(seen["head"], share) - percentile(seen["direct"], share)
                for share in (0.5, 0.99)
            ]
            print(
                f"{rate:5} tasks/s   through the head: {shown(seen['head'])}   "
                f"direct: {shown(seen['direct'])}   "
                f"added: p50 {added[0] * 1e3:6.3f} ms  p99 {added[1] * 1e3:6.3f} ms"
            )
        for way, to in targets.items():
            load = await Load(to).open()
            head_before, own_before = head.cpu_seconds(), sum(os.times()[:2])
            rate = await load.saturate(SATURATION_SECONDS, OUTSTANDING)
            tasks = len(load.latencies)
            print(
                f"saturation, {way:6}: {rate:7.0f} tasks/s   CPU a task: "
                f"head {(head.cpu_seconds() - head_before) / tasks * 1e6:5.1f} µs, "
                f"client and stub {(sum(os.times()[:2]) - own_before) / tasks * 1e6:5.1f} µs   "
                f"{shown(load.latencies)}   failed: {load.failed}"
            )
            await load.socket.close()
        load = await Load(targets["head"]).open()
        head_before, resident = head.cpu_seconds(), head.rss()
        for _ in range(LARGE_ANSWERS):
            load.send_large()
            await load.answered()
        cpu = (head.cpu_seconds() - head_before) / LARGE_ANSWERS
        peak = head.rss(peak=True) - resident
        print(
            f"answers of {LARGE[0] * LARGE[1] >> 20} MiB: "
            f"CPU of the head {cpu * 1e3:5.1f} ms each, "
            f"{peak >> 20} MiB more than before at the peak   failed: {load.failed}"
        )
        await load.socket.close()
        await stub.close()
        print(f"head: started in {head.started_in * 1e3:.0f} ms, {head.rss() >> 20} MiB resident")


if __name__ == "__main__":
    uvloop.run(measure())
