"""Real workers race: whoever asked sees one stream with the right text, and the loser stops."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.real_cluster import CHAT, LOADING, ROOT
from support.processes.worker_process import WorkerProcess

POLICY = '(policy "a test" (rule "late ones" (hedge (after 500 ms))))'
TOKENS = 120


class Racers:
    """Two workers with the same model, and a head that races what is late on one of them."""

    def __init__(self, head: HeadProcess, client: ClusterClient) -> None:
        self.head = head
        self.client = client
        self.workers: dict[str, WorkerProcess] = {}

    async def join(self, worker: WorkerProcess) -> None:
        await worker.says("serving", LOADING)
        self.workers[worker.worker_id] = worker

    async def both_serve(self) -> None:
        async with asyncio.timeout(LOADING):
            while True:
                beats = [one.heartbeat for one in (await self.client.status()).workers]
                ready = [m for beat in beats for m in beat.models if m.state == pb.LOADED]
                if len(ready) == len(self.workers):
                    return
                await asyncio.sleep(0.1)

    async def tell(self, act: Callable[[pb.Result], None] = lambda part: None) -> list[pb.Result]:
        """Return the parts of a long answer; `act` gets the sixth, or what comes after it."""
        task = pb.Task(
            model=CHAT,
            stream=True,
            text=pb.TextTask(prompt="Once", seed=3, temperature=1, max_tokens=TOKENS),
        )
        parts = []
        async with asyncio.timeout(LOADING):
            async for part in self.client.run(task):
                parts.append(part)
                if len(parts) == 6:
                    act(part)
        assert [part.index for part in parts] == list(range(len(parts)))
        return parts

    def other(self, worker_id: str) -> WorkerProcess:
        (other,) = (worker for name, worker in self.workers.items() if name != worker_id)
        return other

    async def idle(self, worker_id: str) -> None:
        """Wait until that worker says that it runs nothing, and the head has nothing on it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for worker in (await self.client.status()).workers:
                    beat = worker.heartbeat
                    if beat.worker_id == worker_id and not (
                        beat.running or beat.waiting or worker.in_flight
                    ):
                        return
                await asyncio.sleep(0.1)


def text_of(parts: list[pb.Result]) -> str:
    return "".join(part.text for part in parts)


def done_by(status: pb.ClusterStatus, worker_id: str) -> int:
    """Return how many tasks that worker says that it has finished."""
    return next(
        one.heartbeat.tasks_done for one in status.workers if one.heartbeat.worker_id == worker_id
    )


@pytest.fixture
async def racers(hydramesh: heads.Head, tmp_path: Path) -> AsyncIterator[Racers]:
    policy = tmp_path / "a.policy"
    policy.write_text(POLICY)
    async with AsyncExitStack() as stack:
        head = HeadProcess(
            kind=hydramesh, storage="none", hedge_share=1, worker_timeout=LOADING, policy=policy
        )
        await stack.enter_async_context(head)
        client = await stack.enter_async_context(ClusterClient([head.address]))
        racers = Racers(head, client)
        for name in "one", "two":
            worker = WorkerProcess(
                heads=head.address,
                models=[CHAT],
                models_dir=ROOT / "local-models",
                state_dir=tmp_path / name,
                name=name,
                allow_downloads=False,
            )
            await racers.join(await stack.enter_async_context(worker))
        await racers.both_serve()
        yield racers


async def test_a_worker_that_stands_still_in_mid_answer_is_overtaken_and_stops(
    racers: Racers,
) -> None:
    whole = await racers.tell()
    stopped: list[str] = []

    def stop(part: pb.Result) -> None:
        stopped.append(part.worker_id)
        racers.workers[part.worker_id].signal(signal.SIGSTOP)

    parts = await racers.tell(stop)
    (first,) = stopped
    assert text_of(parts) == text_of(whole)
    assert len({part.worker_id for part in parts}) == 2 and parts[-1].worker_id != first
    status = await racers.client.status()
    assert (status.tasks_hedged, status.tasks_moved, status.tasks_failed) == (1, 0, 0)
    finished = done_by(status, first)

    racers.workers[first].signal(signal.SIGCONT)
    await racers.idle(first)
    status = await racers.client.status()
    assert done_by(status, first) == finished, "what it was told to stop was finished"
    assert text_of(await racers.tell()) == text_of(whole)


async def test_a_worker_that_drains_in_a_race_finishes_what_it_won(racers: Racers) -> None:
    whole = await racers.tell()
    stopped: list[str] = []

    def stop(part: pb.Result) -> None:
        stopped.append(part.worker_id)
        racers.workers[part.worker_id].signal(signal.SIGSTOP)

    answer = asyncio.create_task(racers.tell(stop))
    async with asyncio.timeout(LOADING):
        while (await racers.client.status()).tasks_hedged == 0:
            await asyncio.sleep(0.01)
    second = racers.other(stopped[0])
    second.signal(signal.SIGTERM)
    assert text_of(await answer) == text_of(whole)
    assert await second.ended() == 0
    assert "tasks given up" not in second.log
    racers.workers[stopped[0]].signal(signal.SIGCONT)
    await racers.idle(stopped[0])
    assert text_of(await racers.tell()) == text_of(whole)
