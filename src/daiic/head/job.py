"""One task that the head has accepted, until it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daiic.answer_order import AnswerLimits, AnswerOrder
from daiic.errors import TaskError
from daiic.head.dialect import Dialect
from daiic.head.limits import LIMITS
from daiic.wire import daiic_pb2 as pb
from daiic.work import WorkKind

if TYPE_CHECKING:
    from daiic.head.clients import Client
    from daiic.head.registry import Worker
    from daiic.head.shares import Share

GroupKey = tuple[str, str, frozenset[tuple[str, int]]]
"""What jobs that can run on the same workers have in common."""


class Job:
    """A task on its way: waiting, or on `worker` as its `attempt`.

    `asker` is what its client calls whoever it works for, `share` that one's
    share of the workers while it waits, `bytes` the size of the TASK, `size`
    and `reading` what is to be made, see `daiic.work`.
    `missed` says that a part of its answer came from elsewhere than its worker.
    `failed_on` are the processes on which it has failed, the last time with
    `error`. Times are of the head's monotonic clock.
    """

    __slots__ = (
        "answer",
        "arrived_at",
        "asker",
        "attempt",
        "attempts",
        "bytes",
        "client",
        "deadline",
        "dialect",
        "error",
        "failed_on",
        "id",
        "kind",
        "missed",
        "model",
        "number",
        "over",
        "pinned",
        "queued_at",
        "reading",
        "share",
        "size",
        "worker",
    )

    def __init__(
        self,
        task: pb.Task,
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
        """`size` is in bytes; `number` orders jobs by arrival; `deadline` is a time."""
        self.id = task_id
        self.client = client
        self.dialect = dialect
        self.bytes = size
        self.number = number
        self.kind = kind
        self.model: str = task.model
        self.pinned: str = task.worker_id
        self.size = kind.size(task)
        self.reading = kind.reading(task)
        self.asker: str = task.client
        self.share: Share | None = None
        if self.asker:
            self.asker = self.asker[: LIMITS.client_name]
            task.ClearField("client")  # no worker needs to know
        self.answer = AnswerOrder(task, limits)
        self.arrived_at = now
        self.queued_at = now
        self.deadline = deadline
        self.worker: Worker | None = None
        self.attempt = 0
        self.attempts = 0
        self.missed = False
        self.failed_on: frozenset[tuple[str, int]] = frozenset()
        self.error: TaskError | None = None
        self.over = False

    @property
    def group_key(self) -> GroupKey:
        """Jobs with the same key can run on the same workers."""
        return self.model, self.pinned, self.failed_on
