"""Where a job runs: on one worker that can hold its model, else on several together."""

from daiic.head.group_ledger import GroupLedger
from daiic.head.job import Job
from daiic.head.registry import Registry
from daiic.head.scheduling import choose, may_serve
from daiic.head.shared_model import SharedModel
from daiic.head.worker import Readiness, Worker


def place(
    workers: Registry, groups: GroupLedger, job: Job, now: float
) -> tuple[Worker, SharedModel | None] | None:
    """Return the worker that should get `job` now, and the group that it leads, if it does.

    A group that has the model loaded comes before a worker that would have to
    load it. `None` if the job has to wait, or there is nobody.
    """
    alone = choose(workers, job, now)
    placed = (alone, None) if alone is not None else None
    if not workers.lending or (alone and alone.readiness(job.model) == Readiness.LOADED):
        return placed
    held = groups.held(job, now)
    if held is None and (alone is not None or may_serve(workers, job)):
        return placed
    found = held or groups.formed(job, now)
    if found is None:
        groups.make_way(job, now)
        return None
    return found if found[0].free else None


def servable(workers: Registry, groups: GroupLedger, job: Job) -> bool:
    """Return whether `job` can run on a worker or a group, now or later."""
    return may_serve(workers, job) or (workers.lending and groups.may_serve(job))
