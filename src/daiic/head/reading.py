"""What a worker has read of a job's prompt before, and need not read again."""

from daiic.head.job import Job
from daiic.head.statistics import Statistics
from daiic.head.worker import Worker
from daiic.wire import daiic_pb2 as pb
from daiic.work import BYTES_PER_TOKEN


def saved(worker: Worker, job: Job) -> float:
    """Return how much of the reading of `job` is spared by what `worker` should still have."""
    if not job.prefix:
        return 0.0
    before = worker.read.read(job.model, job.prefix) * job.kind.reading
    return min(before, job.reading) * worker.read.kept(job.model)


LEAST_READ = 256
"""Tokens of a prompt; how long it takes to read fewer tells more of other things."""


def note_assigned(job: Job, worker: Worker, statistics: Statistics) -> None:
    """Note that `worker` has got `job`."""
    if job.prefix:
        job.read_before = worker.read.read(job.model, job.prefix)
        statistics.read_before += job.read_before > 0


def note_part(job: Job, part: pb.Result, statistics: Statistics, now: float) -> None:
    """Note what a part of the answer tells: the first one that its worker has read the prompt.

    The last one tells how much of the prompt it still had, and so how fast it has read the rest.
    """
    usage = part.usage
    if not part.final and not job.first_at:
        job.first_at = now
    if part.final:
        statistics.prompt_tokens += usage.prompt_tokens
        statistics.cached_tokens += min(usage.cached_tokens, usage.prompt_tokens)
    if not job.prefix or not (part.final or part.HasField("model")):
        return
    assert job.worker is not None
    worker = job.worker
    read = worker.read
    if part.final and job.read_before and usage.prompt_tokens:
        expected = min(job.read_before * job.kind.reading / job.reading, 1.0)
        kept = usage.cached_tokens / usage.prompt_tokens / expected
        read.learn(job.model, min(kept, 1.0))
    read.note(job.model, job.prefix, worker.caches(job.model) * BYTES_PER_TOKEN)
    if part.final and job.first_at and job.attempts == 1:
        unread = usage.prompt_tokens - usage.cached_tokens
        if unread >= LEAST_READ:
            units = job.reading * unread / usage.prompt_tokens
            read.learn_pace(job.model, (job.first_at - job.began_at) / units)
