"""What workers send: HEARTBEATs, and the RESULTs and ERRORs of their tasks."""

import structlog
from google.protobuf.message import DecodeError

from daiic.answer_order import TooMuch
from daiic.errors import TaskError
from daiic.head import task_errors
from daiic.head.dispatcher import Dispatcher, described
from daiic.head.heartbeats import read_heartbeat
from daiic.head.job import Job
from daiic.head.link import Link
from daiic.head.reading import note_part
from daiic.head.statistics import Statistics
from daiic.head.worker import Worker
from daiic.wire import daiic_pb2 as pb
from daiic.wire.endpoint import MessageTooLarge
from daiic.wire.events import Message
from daiic.wire.messages import Address
from daiic.wire.payload import Pieces, split

log = structlog.get_logger()

MOVABLE = frozenset({pb.WORKER_LOST, pb.SHUTTING_DOWN, pb.OUT_OF_MEMORY, pb.INTERNAL, pb.CANCELLED})
"""Errors of a worker after which another one is tried; we never ask for a CANCELLED."""

HEAVY_NAMES = ("images", "embeddings", "speech", "previews")
HEAVY = frozenset(pb.Result.DESCRIPTOR.fields_by_name[name].number for name in HEAVY_NAMES)
"""Fields of a RESULT that are passed on as they came if they are large."""


class WorkerMessages:
    """Acts on them for the dispatcher."""

    def __init__(self, dispatcher: Dispatcher, link: Link, statistics: Statistics) -> None:
        self._dispatcher = dispatcher
        self._assignments = dispatcher.assignments
        self._workers = dispatcher.workers
        self._limits = dispatcher.limits
        self._link = link
        self._statistics = statistics

    def heartbeat(self, message: Message, now: float) -> None:
        """Act on a worker's HEARTBEAT."""
        heartbeat = read_heartbeat(message.payload, self._limits)
        if heartbeat is None:
            self._statistics.malformed += 1
            return
        if self._workers.deaf(message.peer):
            self._link.ping(message.peer)
            return
        known = self._workers.get(heartbeat.worker_id)
        before = known.address if known is not None else None
        worker, gone = self._workers.heard(heartbeat, message.peer, now)
        if worker is None:
            self._statistics.refused_heartbeats += 1
            return
        for other in gone:
            what = "was restarted" if other.id == worker.id else "has left its address to another"
            self._dispatcher.take_back(other, what, now)
        if known is None:
            log.info("worker registered", **described(worker))
        elif worker is known and before != message.peer:
            self._renew_missed(worker, now)
        if heartbeat.state == pb.STOPPED:
            self._workers.retire(worker)
            self._dispatcher.lose(worker, "was stopped", now)
            return
        self._link.ping(message.peer)
        self._dispatcher.assign_waiting(now)

    def _renew_missed(self, worker: Worker, now: float) -> None:
        """Ask again for the answers of which parts came before we knew the worker's new address."""
        for job in [job for job in self._assignments.of(worker) if job.missed]:
            self._assignments.recall(job)
            job.attempts -= 1
            job.answer.resume_here()
            self._dispatcher.wait(job, now)

    def result(self, message: Message, now: float) -> None:
        """Act on a RESULT."""
        try:
            part, aside = split(pb.Result, message.payload, HEAVY)
        except DecodeError:
            self._statistics.malformed += 1
            return
        job = self._assignments.get(part.id)
        if job is None:
            if not part.final:  # of a task that was given up, or from before this head's start
                self._assignments.stop(message.peer, part.id)
            return
        worker = job.worker
        assert worker is not None
        if message.peer != worker.address:
            self._miss(job)
            return
        if aside:
            if job.dialect.encodes and part.index == job.answer.next_index:
                for name in HEAVY_NAMES:
                    part.ClearField(name)
            else:
                part, aside = pb.Result.FromString(message.payload), []
        try:
            ready = self._assignments.accept(job, part)
            while ready is not None:
                note_part(job, ready, self._statistics, now)
                ready.id = job.id
                ready.model_name = ""  # which model answers is not for workers to say
                error = self._relay(ready, aside if ready is part else [], job)
                if error is not None:
                    self._dispatcher.fail(job, error, now)
                    self._dispatcher.assign_waiting(now)
                    return
                ready = self._assignments.follow(job)
        except TooMuch as reason:
            self._disown(job, reason, now)
            return
        if job.answer.finished:
            self._dispatcher.complete(job, now)
        elif self._assignments.early_bytes > self._limits.ahead_memory:
            most = self._limits.ahead_memory >> 20
            excess = TooMuch(f"more than others of {most} MiB out of order")
            self._disown(self._assignments.earliest(), excess, now)

    def _relay(self, part: pb.Result, aside: Pieces, job: Job) -> TaskError | None:
        """Send a part of the answer to the client; return why it cannot be sent."""
        try:
            sent = self._link.send(job.client.address, *job.dialect.result(part, aside))
        except MessageTooLarge as error:  # in JSON a part is larger than it was
            return task_errors.answer_too_large(error)
        return task_errors.answer_has_no_room() if sent is None else None

    def error(self, message: Message, now: float) -> None:
        """Act on an ERROR."""
        try:
            said = pb.Error.FromString(message.payload)
        except DecodeError:
            self._statistics.malformed += 1
            return
        job = self._assignments.get(said.id)
        if job is None:
            return
        if job.worker is None or message.peer != job.worker.address:
            self._miss(job)
            return
        error = TaskError.from_wire(said)
        worker = self._assignments.release(job)
        # Workers have the same model with different adapters beside it.
        lacks_adapter = said.code == pb.MODEL_NOT_FOUND and pb.ADAPTERS in job.needs
        if said.code == pb.WORKER_LOST and job.group is not None:
            self._dispatcher.groups.failed(job.group, error.message, now)
            self._dispatcher.move(job, error, None, now)
        elif (
            said.code == pb.OUT_OF_MEMORY
            and job.group is None
            and self._workers.lending
            and worker.process not in job.too_small
        ):
            job.too_small |= {worker.process}
            job.attempts -= 1  # a group may hold what this one could not
            self._dispatcher.move(job, error, None, now)
        elif said.code in MOVABLE or lacks_adapter:
            if said.code == pb.SHUTTING_DOWN:
                worker.state = pb.DRAINING
            if said.code == pb.SHUTTING_DOWN or lacks_adapter:
                job.attempts -= 1  # it has not tried
            self._dispatcher.move(job, error, worker, now)
        else:
            self._dispatcher.end_with(error, job, now)
        self._dispatcher.assign_waiting(now)

    def unreachable(self, peer: Address, now: float) -> None:
        """`peer` no longer acknowledges anything; if it is a worker, it is lost."""
        worker = self._workers.at(peer)
        if worker is not None:
            self._workers.deafen(peer)
            self._dispatcher.lose(worker, "cannot be reached", now)

    def _miss(self, job: Job) -> None:
        """Count what came from elsewhere than the job's worker, or from where it has moved."""
        self._statistics.foreign += 1
        job.missed = True

    def _disown(self, job: Job, reason: TooMuch, now: float) -> None:
        """Move a job whose worker sends more than can be kept."""
        worker = job.worker
        assert worker is not None
        self._assignments.recall(job)
        self._dispatcher.move(job, task_errors.disorderly(worker, reason), worker, now)
        self._dispatcher.assign_waiting(now)
