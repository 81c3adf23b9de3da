"""What a replay makes of the policy in force is what happened, where tasks queue, read and load."""

import asyncio
import random
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from daiic.client import ClusterClient
from daiic.client.prompt_prefix import prompt_prefix
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Step, WorkerStub, count
from support.processes import heads
from support.processes.head_process import HeadProcess
from support.processes.replays import found

READ = 80
"""Bytes of a prompt that an engine reads in the time in which it makes a token."""
BLOCK = 256


class Engine:
    """Answers as an engine does: it loads the model, reads what it has not read, then makes tokens.

    All tasks that run at once slow each other down by `crowd` for each other one.
    """

    def __init__(self, stub: WorkerStub, token: float, load: float = 0.0, crowd: float = 0.0):
        self.stub = stub
        self.token = token
        self.load = load
        self.crowd = crowd
        self.loaded_at: float | None = None
        self.running = 0
        self.read: set[str] = set()
        stub.scripts["engine"] = self.answer
        [model] = stub.heartbeat.models
        model.rate = 1 / token
        stub.say(state=pb.READY)

    def _become(self, state: "pb.ModelState") -> None:
        [model] = self.stub.heartbeat.models
        model.state = state
        self.stub.say(state=pb.READY)

    def answer(self, task: pb.Task) -> Iterator[Step]:
        loop = asyncio.get_running_loop()
        self.running += 1
        if self.load and self.loaded_at is None:
            self.loaded_at = loop.time() + self.load
            self._become(pb.LOADING)
            loop.call_later(self.load, self._become, pb.LOADED)
        while self.loaded_at is not None and loop.time() < self.loaded_at:
            yield max(0.001, self.loaded_at - loop.time())
        parts = self._parts(task.text.prompt)
        known = 0
        while known < len(parts) and parts[known] in self.read:
            known += 1
        total = len(task.text.prompt)
        cached = min(total, BLOCK * known)
        yield self._slowed((total - cached) / READ * self.token + 0.005)
        self.read.update(parts)
        for number in range(task.text.max_tokens):
            yield self._slowed(self.token)
            yield pb.Result(text=f"{number} ", tokens=[number])
        self.running -= 1
        usage = pb.Usage(
            prompt_tokens=total // 4,
            cached_tokens=cached // 4,
            completion_tokens=task.text.max_tokens,
        )
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_LENGTH, usage=usage)

    def _slowed(self, seconds: float) -> float:
        return seconds * (1 + self.crowd * (self.running - 1))

    @staticmethod
    def _parts(prompt: str) -> list[str]:
        return [prompt[:end] for end in range(BLOCK, len(prompt) + 1, BLOCK)]


def task(prompt: str, tokens: int) -> pb.Task:
    """Return a streamed task, with the hashes of the prompt's blocks."""
    text = pb.TextTask(prompt=prompt, max_tokens=tokens)
    one = pb.Task(model="engine", stream=True, text=text)
    one.prefix = prompt_prefix(one)
    return one


async def ask(client: ClusterClient, one: pb.Task, at: float = 0.0) -> None:
    await asyncio.sleep(at)
    async for _ in client.run(one):
        pass


@dataclass(frozen=True, slots=True)
class Machine:
    name: str
    token: float
    slots: int
    load: float = 0.0


class Recording:
    """A head that records, in a folder of its own, and its workers."""

    def __init__(self, kind: heads.Head, folder: Path, storage: str) -> None:
        folder.mkdir()
        self.arguments = ("--state-dir", folder, "--storage", storage)
        self.client: ClusterClient
        self._settings = {"kind": kind, "state_dir": folder, "storage": storage}
        self.stack = AsyncExitStack()

    async def start(
        self, machines: list[Machine], policy: Path | None = None, **settings: object
    ) -> None:
        if policy is not None:
            settings["policy"] = policy
        self.head = HeadProcess(**self._settings, **settings, drain_timeout=1)
        await self.stack.enter_async_context(self.head)
        self.client = await self.stack.enter_async_context(ClusterClient([self.head.address]))
        for one in machines:
            stub = await WorkerStub.open(
                [self.head.address],
                worker_id=one.name,
                slots=one.slots,
                models={"engine": pb.AVAILABLE if one.load else pb.LOADED},
            )
            self.stack.push_async_callback(stub.close)
            Engine(stub, one.token, one.load, crowd=0.3)
        await self.head.wait_for_workers(len(machines))
        await asyncio.sleep(3)  # the recorder looks at the workers once a second

    async def end(self) -> None:
        """Stop the head, which has everything written then."""
        self.head.signal(signal.SIGTERM)
        assert await self.head.ended() == 0
        await self.stack.aclose()


def off(told: dict[str, float], real: dict[str, float]) -> dict[str, float]:
    """Return by shares how far off what was `told` is, as a part of what is `real`."""
    return {share: told[share] / real[share] - 1 for share in real}


def compare(title: str, told: dict[str, Any], after: dict[str, Any]) -> None:
    """Print what a replay told, and check it against what happened, then and under the policy."""
    print(f"\n{title}:")
    for what in ("total", "first"):
        repeated = off(told["simulated"][what], told["recorded"][what])
        foretold = off(told["candidate"][what], after["recorded"][what])
        for share in repeated:
            print(
                f"  {what} {share}: {told['recorded'][what][share]:.3f} s, simulated "
                f"{repeated[share]:+.1%}; with the policy {after['recorded'][what][share]:.3f} s, "
                f"foretold {foretold[share]:+.1%}"
            )
        # The last of a hundred is often one task, which may be unlike all others.
        for share in ("p50", "p90"):
            assert abs(repeated[share]) < 0.25, repeated
            # Machines that run tests are late by a tenth of a second now and then.
            real = after["recorded"][what][share]
            assert abs(foretold[share]) < max(0.35, 0.15 / real), foretold
    for name, load in after["recorded"]["workers"].items():
        there = told["candidate"]["workers"][name]["tasks"]
        print(f"  {name}: {load['tasks']} tasks with the policy, foretold {there}")
        assert abs(there - load["tasks"]) < 0.15 * after["recorded"]["tasks"]


def candidate(folder: Path, *rules: str) -> Path:
    path = folder / "candidate.policy"
    path.write_text(f'(policy "candidate" {" ".join(rules)})')
    return path


async def test_where_tasks_queue_for_workers_of_different_speed(
    hydramesh: heads.Head, storage: str, tmp_path: Path
) -> None:
    policy = candidate(
        tmp_path,
        '(rule "long" (when (> task.size 10 tokens)) (exclude (= worker.name "fast")))',
        '(rule "short" (when (<= task.size 10 tokens)) (exclude (= worker.name "slow")))',
    )
    chance = random.Random(7)
    arrivals = list(accumulate(chance.expovariate(24) for _ in range(300)))
    sizes = [chance.randint(1, 20) for _ in arrivals]
    told = []
    for name, in_force in (("before", None), ("after", policy)):
        recording = Recording(hydramesh, tmp_path / name, storage)
        await recording.start(
            [Machine("fast", 0.01, 2), Machine("middle", 0.02, 2), Machine("slow", 0.04, 1)],
            in_force,
        )
        await asyncio.gather(
            *(ask(recording.client, task("x", size), at)
              for at, size in zip(arrivals, sizes, strict=True))
        )  # fmt: skip
        await recording.end()
        told.append(found(hydramesh, policy, *recording.arguments))
    assert told[0]["recorded"]["queued"]["p50"] > 0.1, "tasks have to queue"
    compare("300 tasks that queue", *told)


async def test_where_chats_go_on_and_models_are_loaded(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    policy = candidate(tmp_path, '(rule "two" (exclude (= worker.name "one")))')
    chance = random.Random(3)
    turns = []
    for number in range(4):  # so that it is seen how fast the second worker is, and how it loads
        one = task("".join(chance.choices("abcdefghij ", k=4000)), 10)
        one.worker_id = "two"
        turns.append((number * 0.5, one))
    for number in range(8):
        at, prompt = number * 1.2, ""
        for _ in range(5):
            prompt += "".join(chance.choices("abcdefghij ", k=4000))
            turns.append((at, task(prompt, chance.randint(5, 15))))
            at += chance.uniform(2.5, 5)
    told = []
    for name, in_force in (("before", None), ("after", policy)):
        recording = Recording(hydramesh, tmp_path / name, "sqlite")
        await recording.start(
            [Machine("one", 0.01, 2, load=2), Machine("two", 0.015, 2, load=3)], in_force
        )

        await asyncio.gather(*(ask(recording.client, one, at) for at, one in turns))
        await recording.end()
        told.append(found(hydramesh, policy, *recording.arguments))
    compare("8 chats of 5 turns", *told)


async def test_where_late_tasks_are_raced(hydramesh: heads.Head, tmp_path: Path) -> None:
    given = 0

    def stalling(one: pb.Task) -> Iterator[Step]:
        nonlocal given
        given += 1
        if given % 15 == 0:
            yield 3.0
        for step in count(one):
            if isinstance(step, pb.Result):
                step.model.weights = "same"
            yield step

    recording = Recording(hydramesh, tmp_path / "raced", "sqlite")
    await recording.start([], hedge_share=0.3, hedge_quantile=0.9)
    for name in ("one", "two"):
        stub = await WorkerStub.open(
            [recording.head.address], worker_id=name, slots=4, models={"count": pb.LOADED}
        )
        recording.stack.push_async_callback(stub.close)
        stub.heartbeat.models[0].identity.weights = "same"
        if name == "one":
            stub.scripts["count"] = stalling
        stub.say()
    await recording.head.wait_for_workers(2)
    await asyncio.sleep(3)
    one = pb.Task(model="count", stream=True, text=pb.TextTask(prompt="x", max_tokens=4))
    await asyncio.gather(*(ask(recording.client, one, 0.05 * number) for number in range(200)))
    await recording.end()
    policy = candidate(tmp_path, '(rule "alone" (hedge never))')
    told = found(hydramesh, policy, *recording.arguments)
    assert told["recorded"]["hedged"] > 3 and told["simulated"]["hedged"] > 0
    assert told["candidate"]["hedged"] == 0
    assert any("ran on two workers" in remark for remark in told["remarks"])
