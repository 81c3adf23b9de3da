"""The life of a task, sans-IO: start reading here.

A `Job` is placed on a worker at once, or waits in line until one has room. On
a worker it is an attempt with an id of its own, whose RESULTs are put in
order and relayed. A job whose worker is lost, or fails in a way that another
may not, is placed again and continues after what had been relayed. It ends by
being answered, by an error, by being cancelled or at its deadline.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

import structlog
from google.protobuf.message import DecodeError

from daiic.answer_order import TooMuch
from daiic.errors import TaskError
from daiic.head import task_errors
from daiic.head.assignments import Assignments
from daiic.head.deadlines import Deadlines
from daiic.head.heartbeats import read_heartbeat
from daiic.head.job import Job
from daiic.head.job_queue import Group, JobQueue
from daiic.head.limits import HeadLimits
from daiic.head.link import Link
from daiic.head.registry import Registry, Worker
from daiic.head.scheduling import choose, cost, may_serve, readiness_of
from daiic.head.shares import Measure
from daiic.head.statistics import CANCELLED, DONE, Statistics
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.endpoint import MessageTooLarge
from daiic.wire.events import Message
from daiic.wire.messages import Address
from daiic.wire.payload import decode

log = structlog.get_logger()

MOVABLE = frozenset({pb.WORKER_LOST, pb.SHUTTING_DOWN, pb.OUT_OF_MEMORY, pb.INTERNAL, pb.CANCELLED})
"""Errors of a worker after which another one is tried; a CANCELLED was none of our doing."""

PASSING = frozenset({pb.WORKER_LOST, pb.SHUTTING_DOWN})
"""Those after which it is worth waiting for a worker to come (back)."""


@dataclass(slots=True)
class Policy:
    """What the head's settings say about tasks and workers; times in seconds."""

    worker_timeout: float
    queue_size: int
    task_deadline: float
    max_attempts: int


class Dispatcher:
    """Every worker and every job; `tick` has to be called several times a second."""

    def __init__(
        self,
        policy: Policy,
        limits: HeadLimits,
        link: Link,
        statistics: Statistics,
        now: float,
        paused: Callable[[], float],
    ) -> None:
        """`paused` tells how many seconds `now` has left out since the start."""
        self.policy = policy
        self.limits = limits
        self.workers = Registry(limits)
        self.queue = JobQueue()
        self.started_at = now
        self._link = link
        self._statistics = statistics
        self._assignments = Assignments(link)
        self._deadlines = Deadlines(paused)
        self._tasks_bytes = 0

    @property
    def in_flight(self) -> int:
        """Jobs that are on a worker."""
        return len(self._assignments)

    @property
    def jobs_left(self) -> int:
        """Jobs that are not over."""
        return len(self._assignments) + len(self.queue)

    def jobs(self) -> Iterator[Job]:
        """Yield every job there is; they may end meanwhile."""
        yield from list(self._assignments)
        for group in self.queue.groups():
            yield from group

    # ----------------------------------------------------------- coming, going

    def submit(self, job: Job, now: float) -> None:
        """Place a new job, or let it wait.

        When the line is full, whoever has most in it gives way.

        Raises:
            TaskError: if that is the client of this job, or no worker can serve it.
        """
        most = self.limits.tasks_memory
        while self._tasks_bytes + job.bytes > most:
            self._make_way(job, attrgetter("bytes"), job.bytes, task_errors.no_memory(most), now)
        if self.queue.group_of(job) is None:
            worker = choose(self.workers, job, now)
            if worker is not None and self._give(job, worker, now):
                self._accepted(job)
                return
            if not may_serve(self.workers, job) and now >= self._settled_at:
                raise task_errors.no_worker(job, self.workers)
        if len(self.queue) >= self.policy.queue_size:
            full = task_errors.queue_full(len(self.queue))
            self._make_way(job, attrgetter("queued"), 1, full, now)
        self._wait(job, now)
        self._accepted(job)

    def _accepted(self, job: Job) -> None:
        self._tasks_bytes += job.bytes
        self._deadlines.add(job, self.jobs_left)

    def _make_way(
        self, job: Job, measure: Measure, size: int, refusal: TaskError, now: float
    ) -> None:
        """Let a waiting job of who has most fail for `job`, or refuse that with `refusal`."""
        leaving = self.queue.giving_way(job, measure, size)
        if leaving is None:
            raise refusal
        self.fail(leaving, task_errors.gave_way(len(self.queue)), now)

    def cancel(self, jobs: Iterable[Job], now: float) -> None:
        """End `jobs` without telling their client."""
        for job in jobs:
            self._withdraw(job)
            self._end(job, CANCELLED, now)
        self._place_waiting(now)

    def fail(self, job: Job, error: TaskError, now: float) -> None:
        """End `job` with `error`."""
        self._withdraw(job)
        self._end_with(error, job, now)

    def tick(self, now: float) -> None:
        """Do what time demands: deadlines, silent workers, jobs that waited long enough."""
        for job in self._deadlines.missed(now):
            self.fail(job, task_errors.late(job), now)
        for worker in self.workers.silent_since(now - self.policy.worker_timeout):
            self._lose(worker, "was silent for too long", now)
        self._place_waiting(now)
        self._give_up_waiting(now)

    # ------------------------------------------------------------ from workers

    def heartbeat(self, message: Message, now: float) -> None:
        """Take in a HEARTBEAT."""
        heartbeat = read_heartbeat(message.payload, self.limits)
        if heartbeat is None:
            self._statistics.malformed += 1
            return
        known = self.workers.get(heartbeat.worker_id)
        before = known.address if known is not None else None
        worker, gone = self.workers.heard(heartbeat, message.peer, now)
        if worker is None:
            self._statistics.refused_heartbeats += 1
            return
        for other in gone:
            what = "was restarted" if other.id == worker.id else "has left its address to another"
            self._take_back(other, what, now)
        if known is None:
            log.info("worker registered", **_described(worker))
        elif worker is known and before != message.peer:
            self._renew_missed(worker, now)
        if heartbeat.state == pb.STOPPED:
            self.workers.retire(worker)
            self._lose(worker, "was stopped", now)
            return
        self._link.ping(message.peer)
        self._place_waiting(now)

    def _renew_missed(self, worker: Worker, now: float) -> None:
        """Have those answers made again whose parts came from an address not known to be its."""
        for job in [job for job in worker.jobs.values() if job.missed]:
            self._assignments.recall(job)
            job.attempts -= 1
            job.answer.resume_here()
            self._wait(job, now)

    def result(self, message: Message, now: float) -> None:
        """Take in a RESULT."""
        try:
            part = decode(pb.Result, message.payload)
        except DecodeError:
            self._statistics.malformed += 1
            return
        job = self._assignments.get(part.id)
        if job is None:
            if not part.final:  # of a task given up, or from before this head's start
                self._assignments.stop(message.peer, part.id)
            return
        worker = job.worker
        assert worker is not None
        if message.peer != worker.address:
            self._miss(job)
            return
        try:
            relayed = self._assignments.accept(job, part)
        except TooMuch as reason:
            self._disown(job, reason, now)
            return
        for ready in relayed:
            ready.id = job.id
            error = self._relay(ready, job)
            if error is not None:
                self.fail(job, error, now)
                self._place_waiting(now)
                return
        if job.answer.finished:
            self._assignments.release(job)
            self._end(job, DONE, now)
            self._place_waiting(now, worker)
        elif self._assignments.early_bytes > self.limits.ahead_memory:
            most = TooMuch(f"more than others of {self.limits.ahead_memory >> 20} MiB out of order")
            self._disown(self._assignments.earliest(), most, now)

    def _miss(self, job: Job) -> None:
        """Count what came from elsewhere than the job's worker, or from where it has moved."""
        self._statistics.foreign += 1
        job.missed = True

    def _disown(self, job: Job, reason: TooMuch, now: float) -> None:
        """Give a job elsewhere whose worker sends more than can be kept."""
        worker = job.worker
        assert worker is not None
        self._assignments.recall(job)
        self._move(job, task_errors.disorderly(worker, reason), worker, now)
        self._place_waiting(now)

    def _relay(self, part: pb.Result, job: Job) -> TaskError | None:
        """Send a part of the answer to the client; return why it cannot be sent."""
        try:
            sent = self._link.send(job.client.address, *job.dialect.result(part))
        except MessageTooLarge as error:  # in JSON a part is larger than it was
            return task_errors.answer_too_large(error)
        return task_errors.answer_has_no_room() if sent is None else None

    def error(self, message: Message, now: float) -> None:
        """Take in an ERROR."""
        try:
            said = pb.Error.FromString(message.payload)
        except DecodeError:
            self._statistics.malformed += 1
            return
        job = self._assignments.get(said.id)
        if job is None:
            return
        if job.worker is None or message.peer != job.worker.address:
            self._miss(job)
            return
        error = TaskError.from_wire(said)
        worker = self._assignments.release(job)
        if said.code in MOVABLE:
            if said.code == pb.SHUTTING_DOWN:
                worker.state = pb.DRAINING
                job.attempts -= 1  # it has not tried
            self._move(job, error, worker, now)
        else:
            self._end_with(error, job, now)
        self._place_waiting(now)

    def unreachable(self, peer: Address, now: float) -> None:
        """Take in that `peer` acknowledges nothing any more."""
        worker = self.workers.at(peer)
        if worker is not None:
            self._lose(worker, "cannot be reached", now)

    # -------------------------------------------------------------- on workers

    def _give(self, job: Job, worker: Worker, now: float) -> bool:
        given = self._assignments.give(job, worker)
        if given:
            self._statistics.queued.add(now - job.queued_at)
        return given

    def _withdraw(self, job: Job) -> None:
        """Take `job` from where it is, and tell its worker."""
        if job.worker is None:
            self.queue.remove(job)
        else:
            self._assignments.recall(job)

    def _lose(self, worker: Worker, what: str, now: float) -> None:
        self.workers.remove(worker)
        self._take_back(worker, what, now)
        self._place_waiting(now)

    def _take_back(self, worker: Worker, what: str, now: float) -> None:
        """Place the jobs of a process that is gone elsewhere."""
        expected = worker.state == pb.STOPPED and not worker.jobs
        say = log.info if expected else log.warning
        say(f"worker {what}", tasks=len(worker.jobs), **_described(worker))
        self._link.forget(worker.address)
        for job in list(worker.jobs.values()):
            self._assignments.release(job)
            self._move(job, task_errors.worker_lost(worker, what), worker, now)

    def _move(self, job: Job, error: TaskError, worker: Worker, now: float) -> None:
        job.error = error
        job.failed_on |= {worker.identity}
        if job.attempts >= self.policy.max_attempts or not (
            error.code in PASSING or may_serve(self.workers, job)
        ):
            self._end_with(error, job, now)
            return
        self._statistics.moved += 1
        job.answer.resume_here()
        self._wait(job, now)

    def _end_with(self, error: TaskError, job: Job, now: float) -> None:
        index = job.answer.next_index
        job.client.conclude(job.id, job.dialect.error(error, job.id, index), self._link)
        self._end(job, error.name, now)

    def _end(self, job: Job, outcome: str, now: float) -> None:
        job.over = True
        self._tasks_bytes -= job.bytes
        del job.client.jobs[job.id]
        self._statistics.outcomes[job.kind.name, outcome] += 1
        self._statistics.total.add(now - job.arrived_at)

    # ----------------------------------------------------------------- waiting

    @property
    def _settled_at(self) -> float:
        """When every worker that was there before this head has been heard from."""
        return self.started_at + self.policy.worker_timeout

    def _wait(self, job: Job, now: float) -> None:
        group = self.queue.add(job, now)
        if job.error is None and now < self._settled_at:
            group.unservable_since = self.started_at

    def _place_waiting(self, now: float, freed: Worker | None = None) -> None:
        """Place what can be placed; if only `freed` has changed, no more than it has room for."""
        if not len(self.queue):
            return
        changed = [freed] if freed is not None else self.workers
        free = [worker for worker in changed if worker.load < worker.slots]

        def place(job: Job) -> float | None:
            if freed is not None and readiness_of(freed, job) is None:
                return None
            worker = choose(self.workers, job, now)
            if worker is None or not self._give(job, worker, now):
                return None
            return cost(worker, job)

        self.queue.serve(place, lambda: any(worker.load < worker.slots for worker in free))

    def _give_up_waiting(self, now: float) -> None:
        """Fail the jobs that no worker can serve any more, after giving them time to return."""
        for group in self.queue.groups():
            if may_serve(self.workers, group.first):
                group.unservable_since = None
            elif group.unservable_since is None:
                group.unservable_since = now
            elif now - group.unservable_since >= self.policy.worker_timeout:
                self._fail_group(group, now)

    def _fail_group(self, group: Group, now: float) -> None:
        for job in group:
            self.fail(job, job.error or task_errors.no_worker(job, self.workers), now)


def _described(worker: Worker) -> dict[str, str]:
    address = format_address(worker.address)
    return {"worker": worker.id, "name": worker.heartbeat.name, "address": address}
