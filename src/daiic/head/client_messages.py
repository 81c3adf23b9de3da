"""What clients send: TASKs become jobs, are answered at once, or are refused."""

from google.protobuf.message import DecodeError

from daiic.answer_order import LAST_RESUMED, AnswerLimits, size_of
from daiic.errors import TaskError
from daiic.head import task_errors
from daiic.head.clients import Client, Clients
from daiic.head.dialect import JSON, Dialect, dialect_of
from daiic.head.dispatcher import Dispatcher
from daiic.head.job import Job
from daiic.head.link import Link
from daiic.head.report import status_of
from daiic.head.statistics import DONE, STATUS, Statistics
from daiic.wire import daiic_pb2 as pb
from daiic.wire.events import Message
from daiic.wire.messages import Address
from daiic.wire.payload import Pieces
from daiic.work import work_of

PING_INTERVAL = 2.0
CLIENT_SILENCE = 10.0
"""Seconds without a sign of life after which a client is considered gone."""

UNREADABLE = "unreadable"


class ClientMessages:
    """Acts on them for the dispatcher; once `closed`, new tasks are refused."""

    def __init__(self, dispatcher: Dispatcher, link: Link, statistics: Statistics) -> None:
        self.closed = False
        self._dispatcher = dispatcher
        self._link = link
        self._statistics = statistics
        limits = dispatcher.limits
        self._limits = limits
        self._answer_limits = AnswerLimits(limits.ahead, limits.ahead_bytes, limits.delivered)
        self._clients = Clients(limits)
        self._arrivals = 0
        self._look_at = 0.0

    def task(self, message: Message, now: float) -> None:
        """Act on a TASK; one that is known already is ignored."""
        dialect = dialect_of(message.payload)
        try:
            most = self._limits.json_task if dialect is JSON else self._limits.task
            if len(message.payload) > most:
                raise task_errors.too_large(len(message.payload), most)
            task, work = dialect.read(message.payload)
        except TaskError as error:
            task_id = dialect.id_in(message.payload) or message.sequence
            self._refuse(Client(message.peer), dialect, task_id, UNREADABLE, error)
            return
        task_id = task.id or message.sequence
        client = self._clients.heard(message.peer, now)
        if task_id in client.unfinished or task_id in client.known:
            self._statistics.repeated += 1
            return
        self._clients.remember(client, task_id, now)
        if task.HasField("status"):
            status = status_of(self._dispatcher, self._statistics, task.status, now)
            answer = dialect.result(pb.Result(id=task_id, final=True, status=status))
            client.conclude(task_id, answer, self._link)
            self._statistics.count_outcome(STATUS, DONE)
            return
        try:
            job = self._job(task, work, task_id, client, dialect, len(message.payload), now)
            self._dispatcher.submit(job, now)
        except TaskError as error:
            kind = work_of(task)
            self._refuse(client, dialect, task_id, kind.name if kind else UNREADABLE, error)

    def _job(
        self,
        task: pb.Task,
        work: Pieces,
        task_id: int,
        client: Client,
        dialect: Dialect,
        size: int,
        now: float,
    ) -> Job:
        """Return the job of `task`, see `Dialect.read`.

        Raises:
            TaskError: if it is not to be run, whatever workers there are.
        """
        kind = work_of(task)
        if kind is None:
            raise task_errors.nothing_to_do()
        if not task.model:
            raise task_errors.no_model(self._dispatcher.workers)
        if not kind.loads and not task.worker_id:
            raise task_errors.no_worker_named()
        if task.HasField("resume"):
            if size_of(task.resume) > self._limits.delivered:
                raise task_errors.too_much_resumed(self._limits.delivered)
            if task.resume.index > LAST_RESUMED:
                raise task_errors.resumed_too_late()
        if self.closed:
            raise task_errors.stopping()
        self._arrivals += 1
        life = self._dispatcher.policy.task_deadline
        if task.deadline_ms:
            life = min(life, task.deadline_ms / 1000)
        return Job(
            task,
            work,
            task_id,
            kind,
            client,
            dialect,
            size,
            self._answer_limits,
            self._arrivals,
            now,
            now + life,
        )

    def cancel(self, message: Message, now: float) -> None:
        """Act on a CANCEL."""
        try:
            task_id = pb.Cancel.FromString(message.payload).id
        except DecodeError:
            self._statistics.malformed += 1
            return
        client = self._clients.heard(message.peer, now)
        # Its TASK may come later, on a link that reorders.
        self._clients.remember(client, task_id, now)
        number = client.unfinished.get(task_id)
        if number is not None:
            self._dispatcher.cancel([self._dispatcher.jobs[number]], now)

    def unreachable(self, peer: Address, now: float) -> None:
        """`peer` no longer acknowledges anything, so its tasks end.

        If it comes back and repeats them, they are run again.
        """
        client = self._clients.forget(peer)
        if client is not None:
            jobs = [self._dispatcher.jobs[number] for number in client.unfinished.values()]
            self._dispatcher.cancel(jobs, now)

    def pong(self, peer: Address, now: float) -> None:
        """`peer` has answered a PING."""
        client = self._clients.get(peer)
        if client is not None:
            client.answers_pings = True
            client.seen_at = now

    def tick(self, now: float) -> None:
        """Ask clients that wait for an answer whether they are there; forget those long gone.

        A client to which there is nothing to send could leave unnoticed. One
        that has answered a PING before and no longer does is gone.
        """
        if now < self._look_at:
            return
        self._look_at = now + PING_INTERVAL
        for client in self._clients.waiting():
            if client.answers_pings and now - client.seen_at > CLIENT_SILENCE:
                self.unreachable(client.address, now)
            else:
                self._link.ping(client.address)
        self._clients.expire(now)

    def _refuse(
        self, client: Client, dialect: Dialect, task_id: int, work: str, error: TaskError
    ) -> None:
        client.conclude(task_id, dialect.error(error, task_id, 0), self._link)
        self._statistics.count_outcome(work, error.name)
