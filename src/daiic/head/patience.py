"""Whether a task waits for a busy worker that has read its prompt, though another one is free.

It does if that should have room before the wait has cost what the free one would spend on
reading the prompt again. What the wait may cost in the end is bounded by the same: after as long
as the reading would take, and `MOST_PATIENCE` at most, the task takes whoever is free. So at worst
it waits as long as it would have read (as in the ski rental problem: who buys when the rent has
reached the price never pays more than twice what was needed).

A task waits so once, and not if it has been on a worker before.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from daiic.head.job import Job
from daiic.head.reading import saved
from daiic.head.scheduling import may_run, seconds_on, stretch
from daiic.head.worker import READY, Worker

MOST_PATIENCE = 10.0
"""Seconds for which a task waits at most."""
LEAST_SAVING = 0.1
"""Seconds; for less than that no task waits."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A `worker` that should have room after `expected` seconds, and is worth `saving` of them."""

    worker: Worker
    expected: float
    saving: float


def worth_waiting(workers: Iterable[Worker], chosen: Worker, job: Job, now: float) -> Wait | None:
    """Return for whom `job` should wait rather than go to `chosen`, which is free."""
    if not job.prefix or job.attempts or now >= job.patient_until:
        return None
    usual = chosen.rate(job.model) or job.kind.usual_rate
    here = saved(chosen, job)
    if seconds_to_read(chosen, job, job.reading - here, usual) < LEAST_SAVING:
        return None
    at_once = seconds_on(chosen, job, usual, chosen.load)
    most = min(MOST_PATIENCE, job.deadline - now - at_once)
    best = None
    for worker in workers:
        if worker.free:
            continue
        spared = saved(worker, job) - here
        if spared <= 0.0 or not _could_run(worker, job):
            continue
        sooner = at_once - seconds_on(worker, job, usual, worker.load - 1)
        saving = min(most, sooner, seconds_to_read(chosen, job, spared, usual))
        ahead = 0 if job.awaits is worker else worker.awaited
        expected = worker.turnaround.next_end(worker.load, now) * (1 + ahead)
        if (
            saving >= LEAST_SAVING
            and expected < saving
            and (best is None or saving - expected > best.saving - best.expected)
        ):
            best = Wait(worker, expected, saving)
    return best


def seconds_to_read(worker: Worker, job: Job, units: float, usual: float) -> float:
    """Return how long `worker` reads so many units of `job.reading`, as fast as it did of late.

    If that was not measured, it is reckoned by what the worker makes, or by the rate `usual`.
    """
    measured = worker.read.pace(job.model)
    if measured:
        return units * measured
    return units / (worker.rate(job.model) or usual) * stretch(worker, job, worker.load)


def _could_run(worker: Worker, job: Job) -> bool:
    """Return whether `worker`, which has read something with the model, could run `job` with it."""
    made_by = job.answer.made_by
    return (
        worker.state in READY
        and may_run(worker, job)
        and worker.holds(job.model)
        and (made_by is None or worker.can_continue(job.model, made_by))
    )
