"""One task that the head has accepted, until it has ended."""

from math import inf

from daiic.answer_order import AnswerLimits, AnswerOrder, size_of
from daiic.errors import TaskError
from daiic.head.clients import Client
from daiic.head.dialect import Dialect
from daiic.head.limits import LIMITS
from daiic.head.shared_model import SharedModel
from daiic.head.worker import Worker
from daiic.model_identity import ASPECTS
from daiic.prompt_blocks import hashes_in
from daiic.wire import daiic_pb2 as pb
from daiic.wire.payload import Pieces
from daiic.work import WorkKind, bytes_to_read, needs_of

GroupKey = tuple[
    str,
    str,
    frozenset[pb.Capability],
    frozenset[str],
    frozenset[tuple[str, int]],
    frozenset[tuple[str, int]],
    tuple[str, ...] | None,
    tuple[str, int] | None,
]
"""What jobs that can run on the same workers, and wait for the same, have in common."""

USUAL_WEIGHT = 100
MOST_WEIGHT = 1000
"""Of `Task.weight`; more counts as this much."""

NO_TAGS: frozenset[str] = frozenset()

SURELY_SMALL = 1 << 12
"""Bytes of a task whose work is kept decoded: that may take fifty times the memory."""


class Job:
    """A task that waits in the queue, or runs on `worker` as its `attempt`.

    `user` is on whose behalf its client asks, `weight` that user's among those of
    the client, where 1 is usual, `bytes` the size of the TASK
    and of what is kept of the answer that it resumes,
    `size` and `reading` what it has a worker make, see `daiic.work`. `prefix` are the
    hashes of its prompt's blocks, of which its worker had `read_before` bytes. Its
    worker needs a model with all of `needs`, and all of `tags`.
    `missed` says that a part of its answer came from another address than its
    worker's. `failed_on` are the processes on which it has failed, the last
    time with `error`, `too_small` those that could not hold its model alone, but might
    lead a group. `group` are the workers that hold its model together, if
    one alone cannot. `awaits` is a busy worker for which it waits though others are free,
    see `patience`, and until `patient_until` at most. It was given to its worker at `began_at`,
    and the first part of the answer came at `first_at`, 0 if none has.
    Times are of the head's monotonic clock.
    """

    __slots__ = (
        "_work",
        "answer",
        "arrived_at",
        "attempt",
        "attempts",
        "awaits",
        "began_at",
        "bytes",
        "client",
        "deadline",
        "dialect",
        "error",
        "failed_on",
        "first_at",
        "group",
        "id",
        "kind",
        "missed",
        "model",
        "needs",
        "number",
        "over",
        "patient_until",
        "pinned",
        "prefix",
        "queued_at",
        "read_before",
        "reading",
        "size",
        "tags",
        "too_small",
        "user",
        "weight",
        "worker",
    )

    def __init__(
        self,
        task: pb.Task,
        work: Pieces,
        task_id: int,
        kind: WorkKind,
        client: Client,
        dialect: Dialect,
        size: int,
        limits: AnswerLimits,
        number: int,
        now: float,
        deadline: float,
    ) -> None:
        """`work` is as `Dialect.read` returns it, `size` in bytes, `deadline` a time.

        `number` is the job's own, and orders jobs by arrival.
        """
        self.id = task_id
        self.client = client
        self.dialect = dialect
        self.bytes = size
        if task.HasField("resume"):
            self.bytes += size_of(task.resume)
        self.number = number
        self.kind = kind
        self.model: str = task.model
        self.pinned: str = task.worker_id
        self.needs = needs_of(task)
        self.tags = frozenset(task.tags) if task.tags else NO_TAGS
        self.size = kind.size(task)
        self.reading = kind.reading * bytes_to_read(task, size, self.needs)
        self.prefix: tuple[bytes, ...] = ()
        if task.prefix:
            self.prefix = hashes_in(task.prefix) if self.reading else ()
            task.ClearField("prefix")
        self.read_before = 0
        self.user: str = task.client
        if self.user:
            self.user = self.user[: LIMITS.client_name]
            task.ClearField("client")  # no worker needs to know
        self.weight = 1.0
        if task.weight:
            self.weight = min(task.weight, MOST_WEIGHT) / USUAL_WEIGHT
            task.ClearField("weight")
        # A client must not choose the addresses to which workers connect.
        task.ClearField("shards")
        self.answer = AnswerOrder(task, limits)
        if not work and size > SURELY_SMALL:
            work = [_encoded_work(task, kind)]
        self._work = work
        if work:
            self.answer.task = _without_work(task, kind)
        self.arrived_at = now
        self.queued_at = now
        self.began_at = now
        self.first_at = 0.0
        self.deadline = deadline
        self.awaits: Worker | None = None
        self.patient_until = inf
        self.worker: Worker | None = None
        self.attempt = 0
        self.attempts = 0
        self.missed = False
        self.failed_on: frozenset[tuple[str, int]] = frozenset()
        self.too_small: frozenset[tuple[str, int]] = frozenset()
        self.error: TaskError | None = None
        self.group: SharedModel | None = None

    def encoded(self) -> bytes:
        """Return the payload of the TASK for its worker."""
        payload = self.answer.task.SerializeToString()
        return b"".join((*self._work, payload)) if self._work else payload

    def share(self, group: SharedModel | None) -> None:
        """Have its next worker lead `group`, or run the model alone."""
        self.group = group
        if group is not None:
            self.answer.task.shards.CopyFrom(group.plan)
        else:
            self.answer.task.ClearField("shards")

    @property
    def group_key(self) -> GroupKey:
        """Jobs with the same key can run on the same workers; only a queue may change it."""
        model = self.answer.made_by
        identity = tuple(getattr(model, aspect) for aspect in ASPECTS) if model else None
        kept_off = self.failed_on, self.too_small
        awaits = self.awaits.process if self.awaits is not None else None
        return self.model, self.pinned, self.needs, self.tags, *kept_off, identity, awaits


def _encoded_work(task: pb.Task, kind: WorkKind) -> bytes:
    only = pb.Task()
    work = kind.work_in(only)
    work.SetInParent()
    work.CopyFrom(kind.work_in(task))
    return only.SerializeToString()


def _without_work(task: pb.Task, kind: WorkKind) -> pb.Task:
    """Return `task` with no more of its work than the seed, which may have been drawn here."""
    work = kind.work_in(task)
    seed = work.seed if kind.seeded else None
    task.ClearField(task.WhichOneof("work"))
    if seed is not None:
        kind.work_in(task).seed = seed
    # A message keeps the memory of what was cleared in it, a copy does not have it.
    small = pb.Task()
    small.CopyFrom(task)
    return small
