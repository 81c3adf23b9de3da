"""The life of a task, sans-IO: start reading here.

A `Job` is assigned to a worker at once, or waits in the queue until one has
room. A model that no worker can hold alone is run by several, of which one
gets the job. On a worker it is an attempt with an id of its own, whose RESULTs are put
in order and relayed. A job whose worker is lost, or fails in a way that another
worker may not, is assigned again and continues after what was relayed. It ends
by being answered, by an error, by being cancelled or at its deadline.

Clients' messages come through `client_messages`, workers' through
`worker_messages`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from operator import attrgetter

import structlog

from daiic.errors import TaskError
from daiic.head import task_errors
from daiic.head.assignments import Assignments
from daiic.head.deadlines import Deadlines
from daiic.head.group_ledger import GroupLedger
from daiic.head.job import Job
from daiic.head.job_queue import Group, JobQueue
from daiic.head.limits import HeadLimits
from daiic.head.link import Link
from daiic.head.patience import Wait, worth_waiting
from daiic.head.placement import place, servable
from daiic.head.reading import note_assigned
from daiic.head.registry import Registry
from daiic.head.scheduling import cost, may_run
from daiic.head.shares import Measure
from daiic.head.statistics import CANCELLED, DONE, Statistics
from daiic.head.worker import Worker
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address

log = structlog.get_logger()

PASSING = frozenset({pb.WORKER_LOST, pb.SHUTTING_DOWN})
"""Errors after which it is worth waiting for a worker to come (back)."""


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
        self.jobs: dict[int, Job] = {}
        """All that are not over, by their numbers."""
        self.assignments = Assignments(link)
        self.groups = GroupLedger(self.workers, limits, self.assignments.unload)
        self.started_at = now
        self._link = link
        self._statistics = statistics
        self._deadlines = Deadlines(paused, self.jobs)
        self._patience = Deadlines(paused, self.queue.patient)
        self._tasks_bytes = 0

    @property
    def in_flight(self) -> int:
        """The number of jobs that are on a worker."""
        return len(self.assignments)

    def tick(self, now: float) -> None:
        """Do what time demands: deadlines, silent workers, jobs that waited long enough."""
        for job in self._deadlines.missed(now):
            self.fail(job, task_errors.late(job), now)
        for worker in self.workers.silent_since(now - self.policy.worker_timeout):
            self.lose(worker, "was silent for too long", now)
        self.groups.tick(now)
        for job in self._patience.missed(now):
            self._lose_patience(job)
        self.assign_waiting(now)
        self._fail_unservable(now)

    # ---------------------------------------------------------------- jobs in

    def submit(self, job: Job, now: float) -> None:
        """Assign a new job, or let it wait.

        When the queue is full, a job of the client that has most in it gives way.

        Raises:
            TaskError: if that is the client of this job, or no worker can serve it.
        """
        most = self.limits.tasks_memory
        while self._tasks_bytes + job.bytes > most:
            self._make_way(job, attrgetter("bytes"), job.bytes, task_errors.no_memory(most), now)
        if not self.queue or self.queue.group_of(job) is None:
            if self._place(job, now) is not None:
                self._accepted(job)
                return
            if not servable(self.workers, self.groups, job) and now >= self._settled_at:
                raise task_errors.unservable(job, self.workers)
        while len(self.queue) >= self.policy.queue_size:
            full = task_errors.queue_full(len(self.queue))
            self._make_way(job, attrgetter("queued"), 1, full, now)
        self.wait(job, now)
        self._accepted(job)

    def _accepted(self, job: Job) -> None:
        self._tasks_bytes += job.bytes
        self.jobs[job.number] = job
        job.client.unfinished[job.id] = job.number
        self._deadlines.add(job, job.deadline)

    def _make_way(
        self, job: Job, measure: Measure, size: int, refusal: TaskError, now: float
    ) -> None:
        """Fail a waiting job of the client that has most, or refuse `job` with `refusal`.

        If some wait that need not, none fails, but these wait no longer.
        """
        if self.queue.patient:
            for patient in list(self.queue.patient.values()):
                self._lose_patience(patient)
            self.assign_waiting(now)
            return
        leaving = self.queue.giving_way(job, measure, size)
        if leaving is None:
            raise refusal
        self.fail(leaving, task_errors.gave_way(len(self.queue)), now)

    # --------------------------------------------------------------- jobs out

    def cancel(self, jobs: Iterable[Job], now: float) -> None:
        """End `jobs` without telling their client."""
        for job in jobs:
            self._withdraw(job)
            self._end(job, CANCELLED, now)
        self.assign_waiting(now)

    def fail(self, job: Job, error: TaskError, now: float) -> None:
        """End `job` with `error`."""
        self._withdraw(job)
        self.end_with(error, job, now)

    def complete(self, job: Job, now: float) -> None:
        """End `job`, whose answer has been relayed."""
        worker = self.assignments.release(job)
        worker.turnaround.ended(now - job.began_at, now)
        self._end(job, DONE, now)
        self.assign_waiting(now, worker)

    def end_with(self, error: TaskError, job: Job, now: float) -> None:
        """End `job`, which is neither on a worker nor in the queue, with `error`."""
        index = job.answer.next_index
        job.client.conclude(job.id, job.dialect.error(error, job.id, index), self._link)
        self._end(job, error.name, now)

    def _withdraw(self, job: Job) -> None:
        """Take `job` from where it is, and tell its worker."""
        if job.worker is None:
            self.queue.remove(job)
        else:
            self.assignments.recall(job)

    def _end(self, job: Job, outcome: str, now: float) -> None:
        self._tasks_bytes -= job.bytes
        del self.jobs[job.number]
        del job.client.unfinished[job.id]
        self._statistics.count_outcome(job.kind.name, outcome)
        self._statistics.total.add(now - job.arrived_at)

    # ------------------------------------------------------------ lost workers

    def lose(self, worker: Worker, what: str, now: float) -> None:
        """Forget `worker` and move its jobs; `what` says in which way it was lost."""
        self.workers.remove(worker)
        self.take_back(worker, what, now)
        self.assign_waiting(now)

    def take_back(self, worker: Worker, what: str, now: float) -> None:
        """Move the jobs of a process that is gone."""
        expected = worker.state == pb.STOPPED and not worker.attempts
        say = log.info if expected else log.warning
        say(f"worker {what}", tasks=len(worker.attempts), **described(worker))
        self._link.forget(worker.address)
        for job in self.assignments.of(worker):
            self.assignments.release(job)
            self.move(job, task_errors.worker_lost(worker, what), worker, now)
        self.groups.lost(worker.process)
        # The leader of a group may take long to notice, or be told nothing.
        for job in self.assignments.with_part_on(worker.process):
            self.assignments.recall(job)
            self.move(job, task_errors.worker_lost(worker, what), None, now)

    def move(self, job: Job, error: TaskError, worker: Worker | None, now: float) -> None:
        """Let `job`, which has failed on `worker`, wait for another, or end it with `error`.

        It may go to the same one again if that was not at fault, and `worker` is `None`.
        """
        job.error = error
        if worker is not None:
            job.failed_on |= {worker.process}
        if job.attempts >= self.policy.max_attempts or not (
            error.code in PASSING
            # A worker's heartbeat may tell only later how much the model takes.
            or (error.code == pb.OUT_OF_MEMORY and job.too_small)
            or servable(self.workers, self.groups, job)
        ):
            self.end_with(error, job, now)
            return
        self._statistics.moved += 1
        job.answer.resume_here()
        self.wait(job, now)

    # ------------------------------------------------------------ waiting jobs

    @property
    def _settled_at(self) -> float:
        """When every worker that was there before this head has been heard from."""
        return self.started_at + self.policy.worker_timeout

    def wait(self, job: Job, now: float) -> None:
        """Put `job` into the queue."""
        group = self.queue.add(job, now)
        if job.error is None and now < self._settled_at:
            group.unservable_since = self.started_at

    def assign_waiting(self, now: float, freed: Worker | None = None) -> None:
        """Assign the waiting jobs that workers have room for.

        If only `freed` has changed, no others are looked at than it may run.
        """
        if not self.queue:
            return
        changed = [freed] if freed is not None else self.workers
        free = [worker for worker in changed if worker.free]

        def assign(job: Job) -> float | None:
            if freed is not None and not may_run(freed, job):
                return None
            worker = self._place(job, now)
            return cost(worker, job) if worker is not None else None

        self.queue.serve(assign, lambda: any(worker.free for worker in free))

    def _place(self, job: Job, now: float) -> Worker | None:
        """Assign `job` to the worker that should get it now, if there is one; return that."""
        placed = place(self.workers, self.groups, job, now)
        if placed is None:
            return None
        worker, group = placed
        if group is None and len(self.queue) < self.policy.queue_size:
            wait = worth_waiting(self.workers, worker, job, now)
            if wait is not None:
                self._be_patient(job, wait, now)
                return None
        job.share(group)
        return worker if self._assign(job, worker, now) else None

    def _be_patient(self, job: Job, wait: Wait, now: float) -> None:
        """Let `job` wait for the worker of `wait`; what it saved at first bounds how long."""
        self.queue.await_worker(job, wait.worker)
        if job.patient_until == inf:
            job.patient_until = now + wait.saving
            self._patience.add(job, job.patient_until)
            self._statistics.patient += 1

    def _lose_patience(self, job: Job) -> None:
        job.patient_until = -inf
        self.queue.await_worker(job, None)

    def _assign(self, job: Job, worker: Worker, now: float) -> bool:
        assigned = self.assignments.assign(job, worker)
        if assigned:
            job.began_at, job.first_at = now, 0.0
            worker.turnaround.began(now)
            self._statistics.rewarded += job.awaits is worker
            self._statistics.queued.add(now - job.queued_at)
            note_assigned(job, worker, self._statistics)
        return assigned

    def _fail_unservable(self, now: float) -> None:
        """Fail the jobs that no worker can serve, after giving workers time to return."""
        for group in self.queue.groups():
            if servable(self.workers, self.groups, group.first):
                group.unservable_since = None
            elif group.unservable_since is None:
                group.unservable_since = now
            elif now - group.unservable_since >= self.policy.worker_timeout:
                self._fail_group(group, now)

    def _fail_group(self, group: Group, now: float) -> None:
        for job in group:
            # Of a group that is gone, who was lost says less than what there is now.
            before = job.error if job.group is None else None
            self.fail(job, before or task_errors.unservable(job, self.workers), now)


def described(worker: Worker) -> dict[str, str]:
    """Return what a log says of `worker`."""
    address = format_address(worker.address)
    return {"worker": worker.id, "name": worker.heartbeat.name, "address": address}
