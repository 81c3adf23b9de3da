"""The tasks that heads have given to this worker: in, run, out, cancelled, drained."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from daiic.errors import TaskError
from daiic.whole_answer import joined
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.endpoint import MessageTooLarge
from daiic.wire.events import Delivered, Message
from daiic.wire.messages import Address, MessageType
from daiic.wire.payload import decode, id_in
from daiic.work import WorkKind, work_of
from daiic.worker.limits import LIMITS
from daiic.worker.metrics import Statistics

Key = tuple[Address, int]
Answer = Callable[[pb.Task], AsyncGenerator[pb.Result, None]]

log = structlog.get_logger()


class Link(Protocol):
    """What tasks need of the mesh's socket."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes of messages being reassembled or not yet acknowledged."""

    async def memory_freed(self) -> None:
        """Wait until some of the buffered bytes no longer are."""

    def send(self, to: Address, message_type: MessageType, payload: bytes) -> int | None:
        """Queue a message of any size; `None` if there is no memory for it."""


class Tasks:
    """Runs up to `slots` tasks at once; some more are queued, the rest are refused."""

    def __init__(
        self,
        link: Link,
        worker_id: str,
        answer: Answer,
        slots: int,
        statistics: Statistics,
        measured: Callable[[str, float, bool], None] = lambda model, rate, alone: None,
    ) -> None:
        """`measured` is told a model, the tokens or images a second of one of its tasks, and
        whether no other task ran meanwhile."""
        self.slots = slots
        self.closed = ""
        """Why no task is taken, empty if some are."""
        self._link = link
        self._worker_id = worker_id
        self._answer = answer
        self._statistics = statistics
        self._measured = measured
        self._free = asyncio.Semaphore(slots)
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._under_way: dict[tuple[Address, int], int] = {}
        """The tasks of messages that are not acknowledged, by head and sequence number."""
        self._given_up: dict[Key, None] = {}
        self._started = 0
        self._begun = 0
        self._bytes = 0

    @property
    def running(self) -> int:
        """Tasks that have a slot."""
        return self._started

    @property
    def waiting(self) -> int:
        """Tasks that wait for a slot."""
        return len(self._running) - self._started

    def take(self, message: Message) -> None:
        """Begin the task of a TASK message; one that is known is not begun again."""
        try:
            task = decode(pb.Task, message.payload)
        except DecodeError:
            error = TaskError(
                pb.BAD_REQUEST,
                "the TASK's payload is not a Protocol Buffers message, or has too many fields",
                "send tasks to a head, which takes JSON too",
            )
            self._refuse(message.peer, id_in(message.payload) or message.sequence, "unknown", error)
            return
        task.id = task.id or message.sequence
        key = (message.peer, task.id)
        if key in self._running:
            return
        kind = task.WhichOneof("work") or "unknown"
        if self.closed:
            error = TaskError(pb.SHUTTING_DOWN, self.closed, "give the task to another worker")
            self._refuse(message.peer, task.id, kind, error)
        elif len(self._running) >= self.slots * (1 + LIMITS.waiting):
            error = TaskError(
                pb.QUEUE_FULL,
                f"this worker runs {self.slots} tasks and its queue is full",
                "try again later, or add workers",
            )
            self._refuse(message.peer, task.id, kind, error)
        elif self._bytes + len(message.payload) > LIMITS.tasks_memory:
            error = TaskError(
                pb.QUEUE_FULL,
                f"this worker's tasks have {LIMITS.tasks_memory >> 20} MiB, which is the limit",
                "try again later, or send smaller tasks",
            )
            self._refuse(message.peer, task.id, kind, error)
        else:
            self._begin(key, kind, task, len(message.payload))

    def _begin(self, key: Key, kind: str, task: pb.Task, size: int) -> None:
        running = asyncio.create_task(self._run(key, kind, task))
        self._running[key] = running
        self._bytes += size

        # Not in `_run`: of a task that is cancelled before its first step, nothing is run.
        def over(_: "asyncio.Task[None]") -> None:
            del self._running[key]
            self._bytes -= size

        running.add_done_callback(over)

    def cancel(self, message: Message) -> None:
        """End the task that a CANCEL message names, if it runs or waits."""
        with contextlib.suppress(DecodeError):
            running = self._running.get((message.peer, pb.Cancel.FromString(message.payload).id))
            if running is not None:
                running.cancel()

    def lost(self, peer: Address) -> None:
        """End the tasks of a head that cannot be reached, and tell it.

        It may hear this worker all the same. If it does not, it is told once more when it
        answers again: until then it waits for what it will never get. That goes for tasks that
        are done, too, if a part of their answer has not arrived.
        """
        running = [key for key in self._running if key[0] == peer]
        for key in running:
            self._running[key].cancel()
        if running:
            log.warning("tasks cancelled", head=format_address(peer), tasks=len(running))
        unsaid = [under_way for under_way in self._under_way if under_way[0] == peer]
        answered = [(peer, self._under_way.pop(under_way)) for under_way in unsaid]
        for key in dict.fromkeys([*running, *answered]):
            if key not in self._given_up:
                self._given_up[key] = None
                self._tell_given_up(key)
        while len(self._given_up) > LIMITS.given_up:
            del self._given_up[next(iter(self._given_up))]

    def delivered(self, event: Delivered) -> None:
        """Note that a head answers, and what it has."""
        task_id = self._under_way.pop((event.peer, event.sequence), None)
        if not self._given_up:
            return
        if task_id is not None:
            self._given_up.pop((event.peer, task_id), None)
        for key in [key for key in self._given_up if key[0] == event.peer]:
            del self._given_up[key]
            self._tell_given_up(key)

    def _tell_given_up(self, key: Key) -> None:
        peer, task_id = key
        error = TaskError(
            pb.WORKER_LOST,
            "the worker did not hear the head any more",
            "look at the network between them; the task is given to another worker",
        )
        self._end_with(error, peer, task_id)

    async def drain(self, patience: float) -> None:
        """Take no more tasks; give up those that do not end within `patience` seconds."""
        self.closed = "the worker is shutting down"
        if self._running:
            await asyncio.wait(self._running.values(), timeout=patience)
        left = dict(self._running)
        for (peer, task_id), running in left.items():
            running.cancel()
            error = TaskError(
                pb.SHUTTING_DOWN, "the worker was stopped", "give the task to another worker"
            )
            self._end_with(error, peer, task_id)
        if left:
            log.warning("tasks given up", tasks=len(left), drain_timeout=patience)
            await asyncio.wait(left.values(), timeout=5)

    # ------------------------------------------------------------------- one

    async def _run(self, key: Key, kind: str, task: pb.Task) -> None:
        peer, task_id = key
        outcome = "DONE"
        limit = task.deadline_ms / 1000 if task.deadline_ms else None
        try:
            async with asyncio.timeout(limit), self._free:
                self._started += 1
                self._begun += 1
                try:
                    await self._deliver(peer, task_id, kind, task)
                finally:
                    self._started -= 1
        except TaskError as error:
            outcome = error.name
            self._end_with(error, peer, task_id)
        except TimeoutError:
            outcome = pb.ErrorCode.Name(pb.DEADLINE_EXCEEDED)
            late = TaskError(
                pb.DEADLINE_EXCEEDED,
                f"the task was not done within {limit:g} s",
                "allow more time, or ask for less",
            )
            self._end_with(late, peer, task_id)
        except asyncio.CancelledError:
            outcome = "CANCELLED"
        except Exception:
            outcome = pb.ErrorCode.Name(pb.INTERNAL)
            log.exception("internal error in the worker; please report it")
            fault = TaskError(pb.INTERNAL, "internal error in the worker", "see the worker's log")
            self._end_with(fault, peer, task_id)
        finally:
            self._statistics.outcomes[kind, outcome] += 1

    async def _deliver(self, peer: Address, task_id: int, kind: str, task: pb.Task) -> None:
        model, stream, first_index = task.model, task.stream, task.resume.index
        tempo = _Tempo(work_of(task), self._statistics)
        running, begun = self._started, self._begun
        whole: list[pb.Result] = []
        async with contextlib.aclosing(self._answer(task)) as parts:
            async for part in parts:
                tempo.heard(part)
                if not stream:
                    if part.started_over:
                        whole.clear()
                    whole.append(part)
                    if not part.final:
                        continue
                    part = joined(whole)
                    part.index = first_index
                part.id = task_id
                part.worker_id = self._worker_id
                final = part.final
                payload = part.SerializeToString()
                try:
                    while not self._say(peer, MessageType.RESULT, task_id, payload):
                        await self._link.memory_freed()
                except MessageTooLarge as error:
                    raise TaskError(
                        pb.BAD_REQUEST, f"the answer is too large: {error}", "ask for less at once"
                    ) from None
                if final:
                    break
                while self._link.buffered_bytes > LIMITS.unsent:
                    await self._link.memory_freed()
        rate = tempo.rate()
        if rate:
            self._measured(model, rate, running == 1 and self._begun == begun)

    def _refuse(self, peer: Address, task_id: int, kind: str, error: TaskError) -> None:
        self._statistics.outcomes[kind, error.name] += 1
        self._end_with(error, peer, task_id)

    def _end_with(self, error: TaskError, peer: Address, task_id: int) -> None:
        payload = error.to_wire(task_id).SerializeToString()
        self._say(peer, MessageType.ERROR, task_id, payload)

    def _say(self, peer: Address, message_type: MessageType, task_id: int, payload: bytes) -> bool:
        """Return whether there was room for the message."""
        sequence = self._link.send(peer, message_type, payload)
        if sequence is None:
            return False
        self._under_way[peer, sequence] = task_id
        return True


class _Tempo:
    """How fast one task is answered."""

    def __init__(self, kind: WorkKind | None, statistics: Statistics) -> None:
        self._kind = kind
        self._statistics = statistics
        self._asked_at = time.monotonic()
        self._begun_at = 0.0
        self._ended_at = 0.0
        self._first = 0
        self._made = 0

    def heard(self, part: pb.Result) -> None:
        """Record a part as it comes from the engine."""
        now = time.monotonic()
        number = self._kind.made(part) if self._kind is not None else 0
        if part.tokens:
            self._statistics.count_tokens(len(part.tokens))
        is_step = part.HasField("progress") and part.progress.phase == "steps"
        if not self._begun_at and (number or is_step):
            self._begun_at = now
            self._first = number
            if part.tokens:
                self._statistics.first_token.observe(now - self._asked_at)
        self._made += number
        self._ended_at = now

    def rate(self) -> float:
        """Return what was made a second after the first part, 0 if that cannot be told."""
        seconds = self._ended_at - self._begun_at
        made = self._made - self._first
        return made / seconds if self._begun_at and made > 0 and seconds > 0 else 0.0
