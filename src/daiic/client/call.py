"""One task that a client has sent to a head, until it is answered."""

import asyncio

from daiic.answer_order import AnswerOrder, TooMuch
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import Address


class Call:
    """Holds the parts that have arrived, in order, until they are taken; an error ends the answer.

    `head` has the task, unless it has `refused` it because it shuts down.
    `heard_at` is when it last said something about the task, or was sent it.
    """

    __slots__ = ("_arrived", "_error", "_news", "answer", "head", "heard_at", "id", "refused")

    def __init__(self, task: pb.Task, call_id: int, head: Address, now: float) -> None:
        self.answer = AnswerOrder(task)
        self.id = call_id
        self.head = head
        self.heard_at = now
        self.refused = False
        self._arrived: list[pb.Result] = []
        self._error: TaskError | None = None
        self._news = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether nothing more is to come, though some may not have been taken yet."""
        return self.answer.finished or self._error is not None

    def accept(self, part: pb.Result, now: float) -> None:
        """Accept a RESULT of this call."""
        self.heard_at = now
        try:
            ready = self.answer.accept(part)
            while ready is not None:
                self._arrived.append(ready)
                ready = self.answer.follow()
        except TooMuch as error:
            self.fail(TaskError(pb.INTERNAL, f"the head sends {error}", "see the head's log"))
        self._news.set()

    def fail(self, error: TaskError) -> None:
        """End the answer."""
        self._error = error
        self._news.set()

    async def take(self) -> list[pb.Result]:
        """Return the parts that have arrived since the last time, at least one; wait for it.

        Raises:
            TaskError: if the answer has ended with an error, and all before it is taken.
        """
        while not self._arrived:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        arrived, self._arrived = self._arrived, []
        return arrived
