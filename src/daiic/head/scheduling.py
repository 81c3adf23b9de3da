"""Which worker gets a task: one that could run its model soonest, then the one done first.

Only workers count that have all the tags that the task asks for, and whose
model can do what it needs. An answer that was begun goes on where the same
model is loaded, if it is anywhere.

The time on a worker is what the task has it make, over the measured rate of
one task there, stretched by what the worker has already: tasks that run
together share it, others come one after the other. A worker that was not
measured counts as the fastest, so that it gets measured.
"""

from collections.abc import Iterable
from operator import itemgetter

from daiic.head.job import Job
from daiic.head.worker import SERVING, Readiness, Worker
from daiic.wire import daiic_pb2 as pb

SPREAD_AFTER = 2.0
"""Seconds that a task waits for a busy worker with its model before another loads it too."""

Candidate = tuple[Readiness, Worker]

_READY = frozenset({pb.READY})
_first = itemgetter(0)


def choose(workers: Iterable[Worker], job: Job, now: float) -> Worker | None:
    """Return the worker that should get `job` now; `None` if it has to wait, or there is none."""
    candidates = _candidates(workers, job, _READY)
    made_by = job.answer.made_by
    if made_by is not None:
        same = [(r, w) for r, w in candidates if w.can_continue(job.model, made_by)]
        candidates = same or candidates
    free = [candidate for candidate in candidates if candidate[1].load < candidate[1].slots]
    if not free:
        return None
    best = min(free, key=_first)[0]
    if len(free) < len(candidates) and best > min(candidates, key=_first)[0]:
        spread = best <= Readiness.ON_DISK and now - job.queued_at >= SPREAD_AFTER
        if not spread:
            return None
    equals = [worker for readiness, worker in free if readiness == best]
    return equals[0] if len(equals) == 1 else _done_first(equals, job)


def may_run(worker: Worker, job: Job) -> bool:
    """Return whether `worker` can run `job`, as far as can be told from it alone."""
    return _readiness(worker, job) is not None


def may_serve(workers: Iterable[Worker], job: Job) -> bool:
    """Return whether one of `workers` can run `job`, now or once it has started or is free."""
    return bool(_candidates(workers, job, SERVING))


def cost(worker: Worker, job: Job) -> float:
    """Return roughly for how many seconds `job` takes one of the worker's slots."""
    return (job.size + job.reading) / (worker.rate(job.model) or job.kind.usual_rate)


def _candidates(
    workers: Iterable[Worker], job: Job, states: frozenset[pb.WorkerState]
) -> list[Candidate]:
    """Return those of `workers` in one of `states` that can run `job`."""
    candidates: list[Candidate] = []
    downloads: list[Candidate] = []
    known_to_lack = False
    for worker in workers:
        if worker.state not in states:
            continue
        readiness = _readiness(worker, job)
        if readiness is None:
            known_to_lack = known_to_lack or worker.lacks(job.model, job.needs)
        elif readiness == Readiness.DOWNLOADABLE:
            downloads.append((readiness, worker))
        else:
            candidates.append((readiness, worker))
    # What a model cannot do here it will not do after it was downloaded there.
    return candidates if known_to_lack else candidates + downloads


def _readiness(worker: Worker, job: Job) -> Readiness | None:
    """Return how soon `worker` could run `job`, `None` if it must not or cannot."""
    if job.pinned and worker.id != job.pinned:
        return None
    if job.failed_on and worker.process in job.failed_on:
        return None
    if not job.tags <= worker.tags or worker.lacks(job.model, job.needs):
        return None
    return worker.readiness(job.model)


def _done_first(workers: list[Worker], job: Job) -> Worker:
    fastest = max(worker.rate(job.model) for worker in workers) or 1.0

    def order(worker: Worker) -> tuple[float, int]:
        seconds = job.size / (worker.rate(job.model) or fastest)
        share = worker.load / worker.slots if job.kind.shared else worker.load
        return seconds * (1 + share), worker.last_assignment

    return min(workers, key=order)
