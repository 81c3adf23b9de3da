"""Which workers could lead a group for a task, and which could lend memory to it."""

from dataclasses import dataclass

from daiic.head.job import Job
from daiic.head.registry import Registry
from daiic.head.scheduling import may_lead
from daiic.head.worker import SERVING, Readiness, Worker, names_repository
from daiic.wire import daiic_pb2 as pb


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that could lead.

    The model `takes` so many bytes, and `keeps` those of them where it leads; `rank` says how
    soon it has it.
    """

    worker: Worker
    takes: int
    keeps: int
    rank: Readiness


def leads(workers: Registry, job: Job, states: frozenset[pb.WorkerState]) -> list[Candidate]:
    """Return the workers in one of `states` that could lead a group for `job` by layers.

    They have its model and know how much it takes, or may download it when another has told that.
    """
    takes, keeps = size(workers, job)
    found: list[Candidate] = []
    if not takes:
        return found
    for worker in workers:
        if worker.state not in states or worker.offer is None or not can_lead(worker, job):
            continue
        known = worker.models.get(job.model)
        # What has failed and says nothing of what it can do is not on the disk.
        here = known is not None and (
            known.readiness != Readiness.FAILED or known.capabilities is not None
        )
        if known is not None and known.slices is not None:
            continue
        if known is not None and known.takes and here:
            found.append(Candidate(worker, known.takes, known.keeps, known.readiness))
        elif not here and worker.can_download and names_repository(job.model):
            found.append(Candidate(worker, takes, keeps, Readiness.DOWNLOADABLE))
    return found


def size(workers: Registry, job: Job) -> tuple[int, int]:
    """Return the least bytes that the model of `job` takes on a worker, and what a lead keeps."""
    known = (worker.models.get(job.model) for worker in workers)
    return min(
        (
            (model.takes, model.keeps)
            for model in known
            if model is not None and model.takes and model.slices is None
        ),
        default=(0, 0),
    )


def lenders(workers: Registry, job: Job) -> list[Worker]:
    """Return the workers that could lend memory to a group for `job`."""
    return [
        worker
        for worker in workers
        if worker.offer is not None
        and worker.offer.address
        and worker.state in SERVING
        and job.tags <= worker.tags
    ]


def slicers(workers: Registry, job: Job, states: frozenset[pb.WorkerState]) -> list[Worker]:
    """Return the workers in one of `states` that could compute a slice of the model of `job`."""
    return [
        worker
        for worker in workers
        if worker.state in states
        and worker.offer is not None
        and worker.offer.slice_address
        and worker.slices(job.model) is not None
        and job.tags <= worker.tags
    ]


def can_lead(worker: Worker, job: Job) -> bool:
    """Return whether `worker` may have `job`, as far as it knows what its model can do."""
    return may_lead(worker, job) and not worker.lacks(job.model, job.needs)
