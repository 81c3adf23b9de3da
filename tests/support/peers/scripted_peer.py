"""A worker or client whose every message is chosen, and seen, by a test."""

import asyncio
import contextlib
import itertools
from collections import deque
from typing import Any, Self

from google.protobuf import json_format
from google.protobuf.message import Message as Payload

from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, resolve
from daiic.wire.events import Event, Message
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket
from support.processes.daemon import PATIENCE

READ_AS = {
    MessageType.HEARTBEAT: pb.Presence,
    MessageType.TASK: pb.Task,
    MessageType.RESULT: pb.Result,
    MessageType.CANCEL: pb.Cancel,
    MessageType.ERROR: pb.Error,
}


HOSTS = itertools.count(1)


def _unused_host() -> str:
    """Return a loopback address that had no peer yet: heads remember what an address has said."""
    number = next(HOSTS)
    return f"127.2.{number >> 8}.{number & 255}"


class ScriptedPeer:
    """One socket that speaks to one head; what arrives waits until a test takes it."""

    def __init__(self) -> None:
        self._arrived: dict[int, deque[Any]] = {kind: deque() for kind in READ_AS}
        self._news = asyncio.Event()
        self._ids = itertools.count(1 << 40)

    @classmethod
    async def open(cls, head: str) -> Self:
        """Open the socket, on an address of its own."""
        peer = cls()
        peer._head = await resolve(head)
        peer._socket = await MeshSocket.open(f"{_unused_host()}:0", on_events=peer._on_events)
        return peer

    async def close(self) -> None:
        """Close it without another word."""
        await self._socket.close(drain=0)

    @property
    def address(self) -> str:
        """Where it listens, as "host:port"."""
        return format_address(self._socket.local_address)

    def send(self, kind: MessageType, payload: Payload | bytes) -> int | None:
        """Send a message to the head; return its sequence number."""
        data = payload if isinstance(payload, bytes) else payload.SerializeToString()
        return self._socket.send(self._head, kind, data)

    async def next(self, kind: MessageType) -> Any:
        """Return the next message of that type, parsed, be it binary or JSON."""
        async with asyncio.timeout(PATIENCE):
            while not self._arrived[kind]:
                self._news.clear()
                await self._news.wait()
        return self._arrived[kind].popleft()

    def waiting(self, kind: MessageType) -> list[Any]:
        """Return the messages of that type that arrived and were not taken."""
        return list(self._arrived[kind])

    async def settle(self) -> None:
        """Wait until the head has handled what was sent here before, and its answers are here."""
        asked = next(self._ids)
        self.send(MessageType.TASK, pb.Task(id=asked, status=pb.StatusTask()))
        answers = self._arrived[MessageType.RESULT]
        async with asyncio.timeout(PATIENCE):
            while not (found := [part for part in answers if part.id == asked]):
                self._news.clear()
                await self._news.wait()
        answers.remove(found[0])
        self.status: pb.ClusterStatus = found[0].status

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Message):
                kind = MessageType(event.message_type)
                self._arrived[kind].append(_read(READ_AS[kind], event.payload))
        self._news.set()


def _read(form: type[Payload], payload: bytes) -> Payload:
    if payload.startswith(b"{"):
        return json_format.Parse(payload, form())
    return form.FromString(payload)


class ScriptedWorker(ScriptedPeer):
    """A peer with a heartbeat, which goes out every `INTERVAL` until it is to be `silent`."""

    INTERVAL = 0.5

    async def register(self, heartbeat: pb.Heartbeat) -> None:
        """Send `heartbeat` from now on; return when the head has it."""
        self.heartbeat = heartbeat
        self._beating = asyncio.create_task(self._beat())
        await self.settle()

    async def say(self, **changes: Any) -> None:
        """Change fields of the heartbeat; return when the head has it."""
        for name, value in changes.items():
            setattr(self.heartbeat, name, value)
        self.send(MessageType.HEARTBEAT, self.heartbeat)
        await self.settle()

    async def silent(self) -> None:
        """Send no more heartbeats."""
        self._beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beating

    async def close(self) -> None:
        """Stop without another word."""
        if hasattr(self, "_beating"):
            await self.silent()
        await super().close()

    async def _beat(self) -> None:
        while True:
            self.send(MessageType.HEARTBEAT, self.heartbeat)
            await asyncio.sleep(self.INTERVAL)

    async def answer(self, task: pb.Task, text: str, index: int = 0) -> None:
        """End `task` with one final part."""
        self.send(MessageType.RESULT, pb.Result(id=task.id, index=index, final=True, text=text))
        await self.settle()
