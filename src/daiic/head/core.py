"""The whole head without its socket: events and the time in, messages out."""

from collections.abc import Callable

from daiic.head import task_errors
from daiic.head.client_messages import ClientMessages
from daiic.head.dispatcher import Dispatcher, Policy
from daiic.head.limits import HeadLimits
from daiic.head.link import Link
from daiic.head.presence import presence
from daiic.head.statistics import Statistics
from daiic.head.worker_messages import WorkerMessages
from daiic.wire.events import Event, Message, Pong, Unreachable
from daiic.wire.messages import Address, MessageType


class Core:
    """`now` is a monotonic clock in seconds throughout; it stands still while this process does."""

    def __init__(
        self,
        policy: Policy,
        link: Link,
        now: float,
        paused: Callable[[], float] = lambda: 0.0,
        limits: HeadLimits = HeadLimits(),  # noqa: B008
    ) -> None:
        """`paused` tells how many seconds `now` has left out since the start."""
        self.statistics = Statistics()
        self._link = link
        self.dispatcher = Dispatcher(policy, limits, link, self.statistics, now, paused)
        self.clients = ClientMessages(self.dispatcher, link, self.statistics)
        self._workers = WorkerMessages(self.dispatcher, link, self.statistics)
        self._handlers = {
            int(MessageType.TASK): self.clients.task,
            int(MessageType.CANCEL): self.clients.cancel,
            int(MessageType.RESULT): self._workers.result,
            int(MessageType.ERROR): self._workers.error,
            int(MessageType.HEARTBEAT): self._heartbeat,
        }

    def take(self, event: Event, now: float) -> None:
        """Act on what the mesh reports."""
        if isinstance(event, Message):
            self._handlers[event.message_type](event, now)
        elif isinstance(event, Unreachable):
            self.clients.unreachable(event.peer, now)
            self._workers.unreachable(event.peer, now)
        elif isinstance(event, Pong):
            self.clients.pong(event.peer, now)
            self.dispatcher.workers.answered(event.peer, event.rtt)

    def _heartbeat(self, message: Message, now: float) -> None:
        if message.payload:
            self._workers.heartbeat(message, now)  # a worker registers
        else:
            self._answer_presence(message.peer)  # a client asks

    def _answer_presence(self, client: Address) -> None:
        answer = presence(self.dispatcher.workers, self.clients.closed, client)
        self._link.send(client, MessageType.HEARTBEAT, answer.SerializeToString())

    def tick(self, now: float) -> None:
        """Do what time demands; call it several times a second."""
        self.dispatcher.tick(now)
        self.clients.tick(now)

    def abandon(self, now: float) -> None:
        """End every task with SHUTTING_DOWN."""
        for job in list(self.dispatcher.jobs.values()):
            self.dispatcher.fail(job, task_errors.stopping(), now)
