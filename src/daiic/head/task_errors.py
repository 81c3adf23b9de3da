"""The errors that the head itself answers with, and what their reader can do."""

from collections.abc import Iterable
from itertools import chain, islice

from daiic.answer_order import TooMuch
from daiic.errors import TaskError
from daiic.head.job import Job
from daiic.head.limits import LIMITS
from daiic.head.registry import Worker
from daiic.wire import daiic_pb2 as pb
from daiic.wire.endpoint import MessageTooLarge

LOOKED_AT = 4096
"""Models of workers that are looked at to name some."""


def no_worker(job: Job, workers: Iterable[Worker]) -> TaskError:
    """No worker can serve the task: NO_WORKER or MODEL_NOT_FOUND, with what there is."""
    workers = list(workers)
    serving = [worker for worker in workers if worker.state in (pb.READY, pb.STARTING)]
    if job.pinned and job.pinned not in {worker.id for worker in serving}:
        return TaskError(
            pb.NO_WORKER,
            f'there is no worker "{job.pinned}"',
            f"name one of {_listed(worker.id for worker in serving)}"
            if serving
            else "no worker takes tasks now; leave worker_id empty and try again later",
        )
    if not serving:
        return TaskError(
            pb.NO_WORKER,
            "no worker takes tasks now" if workers else "no worker has registered with this head",
            "start one with `daiic-worker`, and give it this head's address in its `heads`",
        )
    names = _models(serving)
    return TaskError(
        pb.MODEL_NOT_FOUND,
        f'no worker has the model "{job.model}"',
        (f"there is {_listed(names)}; " if names else "")
        + (
            "or name one of Hugging Face as owner/name"
            if any(worker.can_download for worker in serving)
            else "put it into a worker's models folder, or allow a worker downloads"
        ),
    )


def queue_full(length: int) -> TaskError:
    """The line is as long as it may be."""
    return TaskError(
        pb.QUEUE_FULL,
        f"{length} tasks wait already, as many as may",
        "try again later, add workers, or raise the head's queue_size",
    )


def gave_way(length: int) -> TaskError:
    """The line is full, and its client has more in it than others."""
    return TaskError(
        pb.QUEUE_FULL,
        f"{length} tasks wait, as many as may, and this client has more of them than others",
        "send fewer at once, add workers, or raise the head's queue_size",
    )


def answer_has_no_room() -> TaskError:
    """Too much waits for the client to acknowledge it."""
    return TaskError(
        pb.QUEUE_FULL,
        "so much waits for the client to take it that this answer has no room in the head's memory",
        "take answers faster, or ask for less at once",
    )


def answer_too_large(reason: MessageTooLarge) -> TaskError:
    """The answer does not fit a message."""
    return TaskError(
        pb.BAD_REQUEST,
        f"the answer cannot be sent: {reason}",
        "ask for less at once; the same answer is smaller in Protocol Buffers than in JSON",
    )


def stopping() -> TaskError:
    """The head is about to end."""
    return TaskError(
        pb.SHUTTING_DOWN, "this head is shutting down", "send the task to another head"
    )


def late(job: Job) -> TaskError:
    """The task's deadline has passed."""
    return TaskError(
        pb.DEADLINE_EXCEEDED,
        f"the task was not done within {job.deadline - job.arrived_at:g} s"
        + (", in which no worker had room for it" if not job.attempts else ""),
        "ask for less, raise deadline_ms or the head's task_deadline, or add workers",
    )


def worker_lost(worker: Worker, what: str) -> TaskError:
    """The worker is gone; `what` says in which way."""
    return TaskError(
        pb.WORKER_LOST,
        f"the worker {worker.heartbeat.name or worker.id} {what}",
        "send the task again; the worker's log says why it ended",
    )


def disorderly(worker: Worker, reason: TooMuch) -> TaskError:
    """The worker sends more than the head keeps."""
    return TaskError(
        pb.INTERNAL,
        f"the worker {worker.heartbeat.name or worker.id} sends {reason}",
        "ask for less at once; if it is not that, see the worker's log",
    )


def too_much_resumed(most: int) -> TaskError:
    """What the task says was delivered is more than an answer may have."""
    return TaskError(
        pb.BAD_REQUEST,
        f"the task resumes an answer of more than {most >> 20} MiB",
        "begin it anew, and ask for less at once",
    )


def no_memory(most: int) -> TaskError:
    """All tasks together have as many bytes as they may."""
    return TaskError(
        pb.QUEUE_FULL,
        f"the tasks that wait and run have {most >> 20} MiB already, as many as they may",
        "try again later, or send smaller tasks",
    )


def too_large(size: int, largest: int) -> TaskError:
    """The task has more bytes than a task may have."""
    return TaskError(
        pb.BAD_REQUEST,
        f"the task has {size >> 20} MiB, and {largest >> 20} MiB are the most",
        "send a shorter prompt, or fewer inputs at once",
    )


def nothing_to_do() -> TaskError:
    """The task says not what to do."""
    return TaskError(
        pb.BAD_REQUEST,
        "the task has no work",
        "set one of text, image, embed, load and status",
    )


def no_model(workers: Iterable[Worker]) -> TaskError:
    """The task names no model."""
    names = _models(workers)
    return TaskError(
        pb.BAD_REQUEST,
        "the task names no model",
        f"set model to one of {_listed(names)}" if names else "set model",
    )


def _models(workers: Iterable[Worker]) -> list[str]:
    models = chain.from_iterable(worker.heartbeat.models for worker in workers)
    return sorted({model.name for model in islice(models, LOOKED_AT)})


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = (
        f" and {len(names) - LIMITS.named_models} more" if len(names) > LIMITS.named_models else ""
    )
    return ", ".join(names[: LIMITS.named_models]) + more
