"""The errors that the head itself ends tasks with, and what their reader can do."""

from collections.abc import Iterable
from itertools import chain, islice

from daiic.answer_order import LAST_RESUMED, TooMuch
from daiic.errors import TaskError
from daiic.head.job import Job
from daiic.head.limits import LIMITS
from daiic.head.worker import Worker
from daiic.model_kinds import ABILITIES
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb
from daiic.wire.endpoint import MessageTooLarge

LOOKED_AT = 4096
"""Models of workers that are looked at to name some."""


def unservable(job: Job, workers: Iterable[Worker]) -> TaskError:
    """No worker can serve the task: NO_WORKER, MODEL_NOT_FOUND or UNSUPPORTED, and who could."""
    workers = list(workers)
    serving = [worker for worker in workers if worker.serving]
    if job.pinned and job.pinned not in {worker.id for worker in serving}:
        return _pinned_away(job, serving)
    if not serving:
        return TaskError(
            pb.NO_WORKER,
            "no worker takes tasks now" if workers else "no worker has registered with this head",
            "start one with `daiic-worker`, and give it this head's address in its `heads`",
        )
    allowed = [worker for worker in serving if job.pinned in ("", worker.id)]
    tagged = [worker for worker in allowed if job.tags <= worker.tags]
    if not tagged:
        return _no_worker_with_tags(job, allowed)
    lacking = [worker for worker in serving if worker.lacks(job.model, job.needs)]
    # What the model lacks on another worker it would lack after a download too.
    if lacking and any(worker.readiness(job.model) is not None for worker in tagged):
        return _unsupported(job, lacking, tagged)
    takes = [worker.takes(job.model) for worker in tagged if not worker.holds(job.model)]
    if takes:
        return _too_large_for_all(job, min(takes), tagged)
    return _model_not_found(job, tagged, serving)


def _too_large_for_all(job: Job, takes: int, tagged: list[Worker]) -> TaskError:
    largest = max(tagged, key=lambda worker: worker.memory or 0)
    lent = sum(worker.offer.bytes for worker in tagged if worker.offer is not None)
    together = (
        f", and all that lend memory have {_gib(lent)} for others"
        if lent
        else ", and none lends memory to others"
    )
    if any(worker.slices(job.model) is not None for worker in tagged):
        together += ", and those that could compute slices of it are too few, or unlike"
    return TaskError(
        pb.OUT_OF_MEMORY,
        f"{shown(job.model)} takes {_gib(takes)}; {shown(largest.title)} has most, "
        f"{_gib(largest.memory or 0)}{together}",
        "add a worker, set shard = true on those that there are, or use a smaller quantization",
    )


def _gib(size: int) -> str:
    """Return `size` in GiB, in whole numbers so that every head says the same."""
    tenths = (size * 10 + (1 << 29)) >> 30
    return f"{tenths // 10}.{tenths % 10} GiB"


def _pinned_away(job: Job, serving: list[Worker]) -> TaskError:
    return TaskError(
        pb.NO_WORKER,
        f'there is no worker "{shown(job.pinned)}"',
        f"name one of {_listed(shown(worker.id) for worker in serving)}"
        if serving
        else "no worker takes tasks now; leave worker_id empty and try again later",
    )


def _no_worker_with_tags(job: Job, allowed: list[Worker]) -> TaskError:
    there = frozenset[str]().union(*(worker.tags for worker in allowed))
    missing = sorted(job.tags - there)
    if missing:
        noun = "tag" if len(missing) == 1 else "tags"
        message = f"no worker has the {noun} {_quoted(missing)}"
    else:
        message = f"no worker has all of the tags {_quoted(sorted(job.tags))}"
    return TaskError(
        pb.NO_WORKER,
        message,
        f"ask for fewer tags; the workers' are {_quoted(sorted(there))}"
        if there
        else "leave the tags out, or give workers some with their setting `tags`",
    )


def _unsupported(job: Job, lacking: list[Worker], tagged: list[Worker]) -> TaskError:
    known = (worker.models[job.model] for worker in lacking)
    missing = min((job.needs - (model.capabilities or frozenset()) for model in known), key=len)
    verbs = " or ".join(ABILITIES[capability] for capability in sorted(missing))
    could = _models_that_can(job.needs, tagged)
    if could:
        return TaskError(
            pb.UNSUPPORTED,
            f"{shown(job.model)} cannot {verbs}",
            f"models that can: {_listed(could)}",
        )
    return TaskError(
        pb.UNSUPPORTED,
        f"{shown(job.model)} cannot {verbs}, and no other model of this cluster can",
        "add a model that can to a worker, or ask for less",
    )


def _models_that_can(needs: frozenset[pb.Capability], workers: list[Worker]) -> list[str]:
    """Return the models with all of `needs`, each with a worker that has it."""
    models = ((name, model, worker) for worker in workers for name, model in worker.models.items())
    found: dict[str, str] = {}
    for name, model, worker in islice(models, LOOKED_AT):
        if model.capabilities is not None and needs <= model.capabilities:
            found.setdefault(name, f"{shown(name)} on worker {shown(worker.title)}")
    return sorted(found.values())


def _model_not_found(job: Job, tagged: list[Worker], serving: list[Worker]) -> TaskError:
    names = _models(tagged)
    whose = f" with the tags {_quoted(sorted(job.tags))}" if len(tagged) < len(serving) else ""
    return TaskError(
        pb.MODEL_NOT_FOUND,
        f'no worker{whose if job.tags else ""} has the model "{shown(job.model)}"',
        (f"there is {_listed(names)}; " if names else "")
        + (
            "or name one of Hugging Face as owner/name"
            if any(worker.can_download for worker in tagged)
            else "put it into a worker's models folder, or allow a worker downloads"
        ),
    )


def queue_full(length: int) -> TaskError:
    """The queue has no room for another task."""
    return TaskError(
        pb.QUEUE_FULL,
        f"the queue is full: {length} tasks wait already",
        "try again later, add workers, or raise the head's queue_size",
    )


def gave_way(length: int) -> TaskError:
    """The queue is full, and this client has more in it than others."""
    return TaskError(
        pb.QUEUE_FULL,
        f"the queue is full: {length} tasks wait, and this client has more of them than others",
        "send fewer at once, add workers, or raise the head's queue_size",
    )


def answer_has_no_room() -> TaskError:
    """Too much waits for the client to acknowledge it."""
    return TaskError(
        pb.QUEUE_FULL,
        "the head has no memory left for this answer, because the client is slow to receive others",
        "receive answers faster, or ask for less at once",
    )


def answer_too_large(reason: MessageTooLarge) -> TaskError:
    """The answer does not fit into a message."""
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
        f"the worker {shown(worker.title)} {what}",
        "send the task again; the worker's log says why it ended",
    )


def disorderly(worker: Worker, reason: TooMuch) -> TaskError:
    """The worker sends more than the head keeps."""
    return TaskError(
        pb.INTERNAL,
        f"the worker {shown(worker.title)} sends {reason}",
        "ask for less at once; if that does not help, see the worker's log",
    )


def too_much_resumed(most: int) -> TaskError:
    """What the task says was delivered is more than an answer may have."""
    return TaskError(
        pb.BAD_REQUEST,
        f"the task resumes an answer of more than {most >> 20} MiB",
        "send it without `resume`, and ask for less at once",
    )


def resumed_too_late() -> TaskError:
    """The parts that follow could not be numbered."""
    return TaskError(
        pb.BAD_REQUEST,
        f"the task resumes an answer at an index above {LAST_RESUMED}",
        "set resume.index to the number of parts that came before",
    )


def no_memory(most: int) -> TaskError:
    """The tasks that are not over take all the memory that there is for them."""
    return TaskError(
        pb.QUEUE_FULL,
        f"the tasks that wait and run already take the {most >> 20} MiB that there are for them",
        "try again later, or send smaller tasks",
    )


def too_large(size: int, largest: int) -> TaskError:
    """The task is larger than a task may be."""
    return TaskError(
        pb.BAD_REQUEST,
        f"the task has {size >> 20} MiB, and {largest >> 20} MiB is the limit",
        "send a shorter prompt, or fewer inputs at once",
    )


def nothing_to_do() -> TaskError:
    """The task does not say what to do."""
    return TaskError(
        pb.BAD_REQUEST,
        "the task has no work",
        "set one of text, image, embed, transcribe, speak, rerank, load, manage and status",
    )


def no_model(workers: Iterable[Worker]) -> TaskError:
    """The task names no model."""
    names = _models(workers)
    return TaskError(
        pb.BAD_REQUEST,
        "the task names no model",
        f"set model to one of {_listed(names)}" if names else "set model",
    )


def no_worker_named() -> TaskError:
    """The task is one for a certain worker, and names none."""
    return TaskError(
        pb.BAD_REQUEST,
        "the task does not say which worker is to manage its model",
        "set worker_id to one of those that `daiic status` shows",
    )


def _models(workers: Iterable[Worker]) -> list[str]:
    models = chain.from_iterable(worker.heartbeat.models for worker in workers)
    return sorted({shown(model.name) for model in islice(models, LOOKED_AT)})


def _quoted(names: Iterable[str]) -> str:
    return _listed(f'"{shown(name)}"' for name in names)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = (
        f" and {len(names) - LIMITS.named_models} more" if len(names) > LIMITS.named_models else ""
    )
    return ", ".join(names[: LIMITS.named_models]) + more
