"""One task that a client has given to a head and waits for."""

import asyncio

from daiic.delivery import Delivery
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import Address


class Call:
    """`parts` holds what has arrived, in order; an error in it ends the answer.

    `head` has the task; it was last heard about, or sent, at `heard_at`.
    """

    __slots__ = ("delivery", "head", "heard_at", "id", "parts")

    def __init__(self, task: pb.Task, call_id: int, head: Address, now: float) -> None:
        self.delivery = Delivery(task)
        self.id = call_id
        self.head = head
        self.heard_at = now
        self.parts: asyncio.Queue[pb.Result | TaskError] = asyncio.Queue()

    def accept(self, part: pb.Result, now: float) -> None:
        """Take in a RESULT of this call."""
        self.heard_at = now
        for ready in self.delivery.accept(part):
            self.parts.put_nowait(ready)

    def fail(self, error: TaskError) -> None:
        """End the answer."""
        self.parts.put_nowait(error)
