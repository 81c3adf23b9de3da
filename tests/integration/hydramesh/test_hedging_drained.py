"""A head or a worker that is told to stop while a task is raced loses nothing of it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from support.peers.racing import WHOLE, stalling_after, streamed, with_a_record
from support.peers.worker_stub import Step, WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

COUNTS = stalling_after(-1)


class Race:
    """A task that two workers have, neither of which says anything until it is told to."""

    def __init__(self, head: HeadProcess, client: ClusterClient) -> None:
        self.head = head
        self.client = client
        self.answer: asyncio.Task[tuple[str, list[str]]]
        self._workers: dict[str, WorkerStub] = {}
        self._order: list[str] = []
        self._told: dict[str, str] = {}

    async def begin(self) -> None:
        for worker in await with_a_record(self.head, self.client):
            name = worker.heartbeat.worker_id
            worker.scripts["count"] = lambda task, name=name: self._script(name, task)
            self._workers[name] = worker
        self.answer = asyncio.create_task(streamed(self.client))
        async with asyncio.timeout(PATIENCE):
            while not self._order:
                await asyncio.sleep(0.02)
                for task in (await self.client.status(pb.StatusTask(tasks=True))).tasks:
                    if task.hedge_worker_id:
                        self._order = [task.worker_id, task.hedge_worker_id]

    async def end(self) -> None:
        for worker in self._workers.values():
            await worker.close(polite=False)

    def worker(self, which: int) -> WorkerStub:
        """Return the first worker that got the task, 0, or the second, 1."""
        return self._workers[self._order[which]]

    def tell(self, which: int, word: str) -> None:
        """Let that worker answer, or fail because it stops."""
        self._told[self._order[which]] = word

    async def won_by(self, which: int) -> bool:
        """Return whether all of the answer is from that worker, and the other gave up."""
        text, workers = await self.answer
        other = self.worker(1 - which)
        async with asyncio.timeout(PATIENCE):
            while self._told.get(other.heartbeat.worker_id) != "fail" and not other.cancelled:
                await asyncio.sleep(0.02)
        return text == WHOLE and set(workers) == {self._order[which]}

    def _script(self, name: str, task: pb.Task) -> Iterator[Step]:
        while name not in self._told:
            yield 0.02
        if self._told[name] == "fail":
            yield TaskError(pb.SHUTTING_DOWN, "the worker was stopped", "use another")
        yield from COUNTS(task)


@pytest.fixture
async def race(hydramesh: heads.Head) -> AsyncIterator[Race]:
    settings: dict[str, object] = {"hedge_share": 1, "max_attempts": 1, "set_aside_after": 0}
    async with (
        HeadProcess(kind=hydramesh, storage="none", drain_timeout=PATIENCE, **settings) as head,
        ClusterClient([head.address]) as client,
    ):
        race = Race(head, client)
        await race.begin()
        yield race
        await race.end()


@pytest.mark.parametrize("winner", [0, 1])
async def test_a_head_that_drains_waits_for_the_end_of_a_race(race: Race, winner: int) -> None:
    race.head.signal(signal.SIGTERM)
    await race.head.says("stopping")
    race.tell(winner, "answer")
    assert await race.won_by(winner)
    assert await race.head.ended() == 0
    assert "tasks given up" not in race.head.log


@pytest.mark.parametrize("which", [0, 1])
async def test_a_worker_that_drains_may_still_win(race: Race, which: int) -> None:
    race.worker(which).say(state=pb.DRAINING)
    race.tell(which, "answer")
    assert await race.won_by(which)
    status = await race.client.status()
    assert (status.tasks_failed, status.tasks_moved, status.in_flight) == (0, 0, 0)


@pytest.mark.parametrize("which", [0, 1])
async def test_the_other_worker_goes_on_when_one_that_drains_gives_the_task_up(
    race: Race, which: int
) -> None:
    race.worker(which).say(state=pb.DRAINING)
    race.tell(which, "fail")
    async with asyncio.timeout(PATIENCE):
        while (await race.client.status(pb.StatusTask(tasks=True))).tasks[0].hedge_worker_id:
            await asyncio.sleep(0.02)
    race.worker(which).say(state=pb.STOPPED)
    await race.head.wait_for_workers(1)
    race.tell(1 - which, "answer")
    assert await race.won_by(1 - which)
    status = await race.client.status()
    assert (status.tasks_failed, status.tasks_moved, status.in_flight) == (0, 0, 0)
