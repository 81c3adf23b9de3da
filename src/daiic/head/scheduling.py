"""Which worker gets a task: one that could run its model soonest, then the one done first.

Only workers count that have all the tags that the task asks for, whose
model can do what it needs, and that can hold it alone; `group_ledger` is for
models that nobody can. An answer that was begun goes on where the same
model is loaded, if it is anywhere.

The time on a worker is what the task has it read and make, over the measured
rate of one task there, stretched by what the worker has already: tasks that run
together share it, others come one after the other. What the worker has read
before and should still have need not be read. A worker that was not measured
counts as the fastest, so that it gets measured.
"""

from collections.abc import Iterable
from operator import itemgetter

from daiic.head.job import Job
from daiic.head.reading import saved
from daiic.head.worker import READY, SERVING, Readiness, Worker, names_repository
from daiic.wire import daiic_pb2 as pb

SPREAD_AFTER = 2.0
"""Seconds that a task waits for a busy worker with its model before another loads it too."""

Candidate = tuple[Readiness, Worker]

_first = itemgetter(0)


def choose(workers: Iterable[Worker], job: Job, now: float) -> Worker | None:
    """Return the worker that should get `job` now; `None` if it has to wait, or there is none."""
    candidates = _candidates(workers, job, READY)
    made_by = job.answer.made_by
    if made_by is not None:
        same = [(r, w) for r, w in candidates if w.can_continue(job.model, made_by)]
        candidates = same or candidates
    if len(candidates) == 1:
        only = candidates[0][1]
        return only if only.free else None
    free = [candidate for candidate in candidates if candidate[1].free]
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
    return (
        is_allowed(worker, job)
        and not worker.lacks(job.model, job.needs)
        and worker.readiness(job.model) is not None
    )


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
    takes = 0
    name, needs, loads = job.model, job.needs, job.kind.loads
    for worker in workers:
        if worker.state not in states:
            continue
        known = worker.models.get(name)
        if known is None:
            if loads and worker.can_download and is_allowed(worker, job) and names_repository(name):
                downloads.append((Readiness.DOWNLOADABLE, worker))
        elif known.capabilities is not None and not needs <= known.capabilities:
            known_to_lack = True
        elif loads and not worker.holds(name):
            takes = min(takes, known.takes) if takes else known.takes
        elif is_allowed(worker, job):
            candidates.append((known.readiness, worker))
    # What a model cannot do here it will not do after it was downloaded there.
    if known_to_lack:
        return candidates
    if takes:
        downloads = [(readiness, worker) for readiness, worker in downloads if worker.fits(takes)]
    return candidates + downloads


def is_allowed(worker: Worker, job: Job) -> bool:
    """Return whether `job` may go to `worker` alone, whatever models that has."""
    return may_lead(worker, job) and (not job.too_small or worker.process not in job.too_small)


def may_lead(worker: Worker, job: Job) -> bool:
    """Return whether `job` may go to `worker` alone or with others, whatever models that has."""
    return (
        (not job.pinned or worker.id == job.pinned)
        and (not job.failed_on or worker.process not in job.failed_on)
        and (not job.tags or job.tags <= worker.tags)
    )


def _done_first(workers: list[Worker], job: Job) -> Worker:
    fastest = max(worker.rate(job.model) for worker in workers) or 1.0
    return min(
        workers,
        key=lambda worker: (seconds_on(worker, job, fastest, worker.load), worker.last_assignment),
    )


def seconds_on(worker: Worker, job: Job, usual: float, load: int) -> float:
    """Return in how many seconds `job` would be done by `worker` beside `load` other tasks.

    `usual` is the rate of one that was not measured.
    """
    work = job.size + job.reading - saved(worker, job)
    return work / (worker.rate(job.model) or usual) * stretch(worker, job, load)


def stretch(worker: Worker, job: Job, load: int) -> float:
    """Return how many times longer `job` takes on `worker` beside `load` other tasks than alone."""
    return 1 + (load / worker.slots if job.kind.shared else load)
