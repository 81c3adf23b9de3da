"""What llama-server renders with the model's chat template, watched: that may never end.

A template is a program that comes with the model, and llama-server runs it in a thread that nothing
ends but the end of the whole process. The same conversation may be rendered twice, and a template
can look at the clock: each time is watched.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol

import structlog

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

PATIENCE = LIMITS.template_patience
CPU_SECONDS = LIMITS.template_seconds
"""Processor time below which the machine, not the template, is taken for too slow."""

LOOKS = 2
"""So many looks at a server's slots have to agree,"""
APART = 1.0
"""and are so many seconds apart."""
MOST_ENDLESS = 2
"""Conversations for which the template of a loaded model may not end; each costs a restart."""

Event = Mapping[str, Any]
Events = AsyncGenerator[Event, None]

log = structlog.get_logger()


class Server(Protocol):
    """The llama-server that renders conversations and answers them."""

    @property
    def processor_seconds(self) -> float:
        """Processor time that it has taken so far."""

    lingering: set["asyncio.Task[None]"]
    """Streams that nobody waits for any more, and that are not closed yet."""

    async def get(self, path: str) -> Mapping[str, Any]:
        """Return the JSON at `path`; errors are those of `post`."""

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the JSON with which it answers `body` at `path`.

        Raises:
            TaskError: if it refuses that; BAD_REQUEST for what its sender can put right.
        """

    def stream(self, path: str, body: Mapping[str, Any]) -> Events:
        """Yield the events with which it answers; closing cancels. Errors are those of `post`."""


class NotRendered(TaskError):
    """A conversation was not rendered in time, and the llama-server is of no use any more."""


class Rendering:
    """The chat template of one loaded model, which is refused once it has not ended."""

    def __init__(self, on_endless: Callable[[], None]) -> None:
        """`on_endless` is told when the llama-server has to be ended."""
        self._endless = 0
        self._on_endless = on_endless
        self._asked: set[asyncio.Task[Any]] = set()

    def check(self, task: pb.Task) -> None:
        """Refuse `task` if it needs a template that has not ended before.

        One that goes on may be a task that the template has disturbed: it gets another chance.

        Raises:
            TaskError: BAD_REQUEST.
        """
        allowed = MOST_ENDLESS if task.HasField("resume") else 1
        if task.text.messages and self._endless >= allowed:
            raise TaskError(
                pb.BAD_REQUEST,
                "the model is refused for conversations: its chat template has not ended for one",
                "choose another model, or send the text as `prompt`",
            )

    async def answered(
        self, server: Server, path: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return what `server` answers at `path` once it has rendered the conversation in `body`.

        It is watched also when this is cancelled: the thread goes on.

        Raises:
            NotRendered: BAD_REQUEST if the template does not end, INTERNAL if the machine is slow.
            TaskError: BAD_REQUEST if it does not take this conversation.
        """
        asked = asyncio.create_task(self._watched(server, path, body))
        self._keep(asked)
        return await asyncio.shield(asked)

    async def stream(self, server: Server, path: str, body: Mapping[str, Any]) -> Events:
        """Yield the events that `server` sends from `path` once it has rendered the conversation.

        It tells as soon as it begins to read the prompt. If nobody waits for that any more, the
        request is closed only then.

        Raises:
            NotRendered: as `answered` does.
            TaskError: as `server.stream` does.
        """
        events = server.stream(path, {**body, "return_progress": True})
        first = asyncio.create_task(self._first(server, events))
        self._keep(first)
        try:
            event = await asyncio.shield(first)
        except asyncio.CancelledError:
            lingering = asyncio.create_task(_linger(events, first))
            self._keep(lingering)
            server.lingering.add(lingering)
            lingering.add_done_callback(server.lingering.discard)
            raise
        async with contextlib.aclosing(events):
            if event is not None:
                yield event
                async for event in events:
                    yield event

    def close(self) -> None:
        """Watch no more."""
        for asked in self._asked:
            asked.cancel()

    async def _watched(
        self, server: Server, path: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        before = server.processor_seconds
        try:
            async with asyncio.timeout(PATIENCE):
                return await server.post(path, body)
        except TimeoutError:
            raise self._stuck(server.processor_seconds - before) from None

    async def _first(self, server: Server, events: Events) -> Event | None:
        """Return the first of `events`, or `None` if there are none."""
        before = server.processor_seconds
        coming = asyncio.ensure_future(anext(events, None))
        try:
            while not coming.done():
                await asyncio.wait({coming}, timeout=PATIENCE)
                if not coming.done() and await _renders(server, coming):
                    raise self._stuck(server.processor_seconds - before)
            return coming.result()
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait({coming})

    def _stuck(self, worked: float) -> NotRendered:
        """Return the error of a server that took `worked` processor seconds, and have it ended."""
        log.error("a chat template has not ended", seconds=PATIENCE, processor_seconds=worked)
        self._endless += worked >= CPU_SECONDS
        self._on_endless()
        if worked < CPU_SECONDS:
            return NotRendered(
                pb.INTERNAL,
                f"llama.cpp has not rendered the conversation in {PATIENCE:g} s",
                "see what else the machine does; another worker may succeed",
            )
        return NotRendered(
            pb.BAD_REQUEST,
            f"the model's chat template has not ended in {PATIENCE:g} s for this conversation",
            "choose another model, or send the text as `prompt`",
        )

    def _keep(self, asked: "asyncio.Task[Any]") -> None:
        self._asked.add(asked)
        asked.add_done_callback(self._done)

    def _done(self, asked: "asyncio.Task[Any]") -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # who asked has it; of one that was cancelled nobody misses it


async def _renders(server: Server, coming: "asyncio.Future[Event | None]") -> bool:
    """Return whether `server` still renders what `coming` waits for, as it leaves a slot free."""
    for _ in range(LOOKS):
        try:
            slots = (await server.get("/slots")).get("items", ())
        except TaskError:
            return False
        if all(slot.get("is_processing") for slot in slots):
            return False
        await asyncio.wait({coming}, timeout=APART)
    return not coming.done()


async def _linger(events: Events, first: "asyncio.Task[Event | None]") -> None:
    try:
        await asyncio.wait({first})
    finally:
        first.cancel()
        await asyncio.wait({first})
        await events.aclose()
