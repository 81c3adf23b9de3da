"""The client side of a cluster with one or more heads.

Every task goes to the first head that answers. PINGs tell whether it is still
there; when it is not, its tasks move to the next head that is, and continue
after what was delivered. A head keeps nothing across a restart, so a task about
which it says nothing for a while is sent to it again: a head that knows the
task ignores that, one that does not runs it.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Self

from google.protobuf.message import DecodeError

from daiic.client.call import Call
from daiic.client.heads import Heads, resolve_heads
from daiic.client.prompt_prefix import prompt_prefix
from daiic.client.task_client import TaskClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, is_loopback
from daiic.wire.events import Event, Message, Pong, Unreachable
from daiic.wire.keyfile import ClusterKey
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp import InsecureBind, MeshSocket

PING_INTERVAL = 1.0
REPEAT_AFTER = 5.0
"""Seconds without news after which a task is sent to its head again."""
PATIENCE = 6.0
"""Seconds that a task waits for any head to come back."""


class ClusterClient(TaskClient):
    """Speaks to the cluster's heads; an async context manager."""

    def __init__(
        self,
        heads: Sequence[str],
        key: ClusterKey | None = None,
        *,
        allow_unauthenticated: bool = False,
    ) -> None:
        """`heads` are "host:port", the preferred one first; others are learned from them.

        `key` is needed for heads on other machines, unless
        `allow_unauthenticated`.
        """
        self._names = list(heads)
        self._key = key
        self._allow_unauthenticated = allow_unauthenticated
        self._heads: Heads
        self._calls: dict[int, Call] = {}
        self._next_id = secrets.randbits(62) | 1
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        """Open the socket.

        Raises:
            ValueError, OSError: if a head's address is malformed, or none is found.
            InsecureBind: if a head is remote and there is no key.
        """
        heads = await resolve_heads(self._names)
        remote = [head for head in heads if not is_loopback(head)]
        may_leave = self._key is not None or self._allow_unauthenticated
        if remote and not may_leave:
            raise InsecureBind(
                f"refusing to talk to {format_address(remote[0])} without a cluster key: anyone "
                "on the way could read and change what is said. Set cluster_key_file to the key "
                "that the head has, or set allow_unauthenticated if the network is trusted"
            )
        self._heads = Heads(heads, remote=may_leave)
        six = any(":" in head[0] for head in heads)
        anywhere, here = ("[::]", "[::1]") if six else ("0.0.0.0", "127.0.0.1")
        self._socket = await MeshSocket.open(
            f"{anywhere if may_leave else here}:0",
            on_events=self._on_events,
            key=self._key,
            allow_unauthenticated=self._allow_unauthenticated,
        )
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self._socket.close(drain=0.2)

    async def bursts(self, task: pb.Task) -> AsyncGenerator[list[pb.Result], None]:
        """See `TaskClient`."""
        task.prefix = prompt_prefix(task)
        now = self._socket.clock()
        call = Call(task, self._take_id(), self._heads.best(now), now)
        self._calls[call.id] = call
        self._send(call)
        if self._watcher is None or self._watcher.done():
            self._watcher = self._loop.create_task(self._watch())
        try:
            while True:
                burst = await call.take()
                yield burst
                if burst[-1].final:
                    return
        finally:
            self._calls.pop(call.id, None)
            if not call.answer.finished:
                self._cancel(call)

    # --------------------------------------------------------------- messages

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _send(self, call: Call) -> None:
        task = call.answer.task
        task.id = call.id
        try:
            sent = self._socket.send(call.head, MessageType.TASK, task.SerializeToString())
        except ValueError as error:
            call.fail(TaskError(pb.BAD_REQUEST, str(error), "send a shorter prompt"))
            return
        if sent is None:
            call.fail(
                TaskError(
                    pb.QUEUE_FULL,
                    "so much waits to be sent to the head that there is no room for this task",
                    "wait for answers before sending more",
                )
            )

    def _cancel(self, call: Call) -> None:
        self._socket.send(call.head, MessageType.CANCEL, pb.Cancel(id=call.id).SerializeToString())

    def _on_events(self, events: list[Event]) -> None:
        now = self._socket.clock()
        for event in events:
            if isinstance(event, Unreachable):
                self._heads.lost(event.peer)
                self._leave(event.peer, now)
            elif isinstance(event, (Message, Pong)):
                self._heads.heard(event.peer, now)
                if isinstance(event, Message):
                    # What cannot be decoded is no answer; the task is repeated in time.
                    with contextlib.suppress(DecodeError):
                        self._message(event, now)

    def _message(self, message: Message, now: float) -> None:
        if message.message_type == MessageType.RESULT:
            part = pb.Result.FromString(message.payload)
            call = self._calls.get(part.id)
            if call is not None and call.head == message.peer and not call.over:
                call.accept(part, now)
        elif message.message_type == MessageType.ERROR:
            error = pb.Error.FromString(message.payload)
            call = self._calls.get(error.id)
            if call is None or call.head != message.peer or call.over:
                return
            if error.code != pb.SHUTTING_DOWN:
                call.fail(TaskError.from_wire(error))
                return
            self._heads.draining(message.peer, True)
            other = self._heads.other(message.peer, now)
            if other is not None:
                self._move(call, other, now)
            else:
                call.heard_at = now
                call.refused = True
        elif message.message_type == MessageType.HEARTBEAT and message.peer in self._heads:
            presence = pb.Presence.FromString(message.payload)
            self._heads.draining(message.peer, presence.state == pb.DRAINING)
            self._heads.told(presence.heads, now)

    # ------------------------------------------------------------------ heads

    def _ask_presence(self, head: Address) -> None:
        self._socket.send(head, MessageType.HEARTBEAT, b"")

    async def _watch(self) -> None:
        while self._calls:
            for head in self._heads:
                self._socket.ping(head)
                self._ask_presence(head)
            await asyncio.sleep(PING_INTERVAL)
            now = self._socket.clock()
            self._heads.expire(now)
            for head in {call.head for call in self._calls.values()}:
                if not self._heads.alive(head, now):
                    self._leave(head, now)
            for call in [call for call in self._calls.values() if not call.over]:
                other = self._heads.other(call.head, now) if call.refused else None
                if other is not None:
                    self._move(call, other, now)
                elif now - call.heard_at >= REPEAT_AFTER and self._heads.alive(call.head, now):
                    self._repeat(call, now)

    def _leave(self, head: Address, now: float) -> None:
        """Move the tasks of a head that is not heard from, or give them up in time."""
        other = self._heads.other(head, now)
        for call in list(self._calls.values()):
            if call.head != head or call.over:
                continue
            if other is not None:
                self._move(call, other, now)
            elif now - call.heard_at >= PATIENCE:
                call.fail(
                    TaskError(
                        pb.HEAD_UNREACHABLE,
                        f"no head answers at {', '.join(map(format_address, self._heads))}",
                        "start one with `daiic-head`, or name the right address with --head; "
                        "a head with another cluster key does not answer either",
                    )
                )

    def _repeat(self, call: Call, now: float) -> None:
        if call.answer.has_gap:
            self._cancel(call)
            self._move(call, call.head, now)
            return
        call.heard_at = now
        call.answer.resume_here()
        self._send(call)

    def _move(self, call: Call, head: Address, now: float) -> None:
        # A new id, so that late parts of the run before are not mistaken for new ones.
        del self._calls[call.id]
        call.id = self._take_id()
        self._calls[call.id] = call
        call.head = head
        call.heard_at = now
        call.refused = False
        call.answer.resume_here()
        self._send(call)
