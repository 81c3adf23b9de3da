"""Which worker gets a task: the nearest to its model, then the one done first.

The time on a worker is what the task has to make, over the measured rate of
one task there, stretched by what the worker has already: tasks that run together share it,
others come one after the other. A worker that has not been measured counts as
the fastest, so that it gets measured.
"""

from collections.abc import Iterable

from daiic.head.job import Job
from daiic.head.registry import Readiness, Worker
from daiic.wire import daiic_pb2 as pb

SPREAD_AFTER = 2.0
"""Seconds that a task waits for a busy worker with its model before another loads it too."""


def choose(workers: Iterable[Worker], job: Job, now: float) -> Worker | None:
    """Return the worker that should get `job` now; `None` if it has to wait, or has none."""
    nearest = Readiness.FAILED
    free: list[tuple[Readiness, Worker]] = []
    for worker in workers:
        if worker.state != pb.READY:
            continue
        near = readiness_of(worker, job)
        if near is None:
            continue
        if near < nearest:
            nearest = near
        if worker.load < worker.slots:
            free.append((near, worker))
    if not free:
        return None
    best = min(near for near, _ in free)
    if best > nearest and not (best <= Readiness.ON_DISK and now - job.queued_at >= SPREAD_AFTER):
        return None
    candidates = [worker for near, worker in free if near == best]
    if len(candidates) == 1:
        return candidates[0]
    return _soonest(candidates, job)


def readiness_of(worker: Worker, job: Job) -> Readiness | None:
    """Return how near `worker` is to running `job`, `None` if it must not or cannot."""
    if job.pinned and worker.id != job.pinned:
        return None
    if job.failed_on and worker.identity in job.failed_on:
        return None
    return worker.readiness(job.model)


def may_serve(workers: Iterable[Worker], job: Job) -> bool:
    """Return whether one of `workers` can run `job`, now or when it has started or is free."""
    return any(
        worker.state in (pb.READY, pb.STARTING) and readiness_of(worker, job) is not None
        for worker in workers
    )


def cost(worker: Worker, job: Job) -> float:
    """Return the seconds that `job` takes one of the worker's slots, roughly."""
    return (job.size + job.reading) / (worker.rate(job.model) or job.kind.usual_rate)


def _soonest(workers: list[Worker], job: Job) -> Worker:
    fastest = max(worker.rate(job.model) for worker in workers) or 1.0

    def order(worker: Worker) -> tuple[float, int]:
        seconds = job.size / (worker.rate(job.model) or fastest)
        share = worker.load / worker.slots if job.kind.shared else worker.load
        return seconds * (1 + share), worker.last_assignment

    return min(workers, key=order)
