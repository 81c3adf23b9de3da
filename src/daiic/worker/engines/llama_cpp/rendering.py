"""What llama-server renders with the model's chat template, watched: that may never end.

A template is a program that comes with the model, and llama-server runs it in a thread that nothing
ends but the end of the whole process.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

PATIENCE = LIMITS.template_patience
CPU_SECONDS = LIMITS.template_seconds
"""Processor time below which the machine, not the template, is taken for too slow."""

MOST_ENDLESS = 2
"""Conversations for which the template of a loaded model may not end; each costs a restart."""

log = structlog.get_logger()


class Server(Protocol):
    """The llama-server that renders."""

    @property
    def processor_seconds(self) -> float:
        """Processor time that it has taken so far."""

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the JSON with which it answers `body` at `path`; see `chat.Server`."""


class NotRendered(TaskError):
    """A conversation was not rendered in time, and the llama-server is of no use any more."""


class Rendering:
    """The chat template of one loaded model, which is refused once it has not ended."""

    def __init__(self, on_endless: Callable[[], None]) -> None:
        """`on_endless` is told when the llama-server has to be ended."""
        self._endless = 0
        self._on_endless = on_endless
        self._asked: set[asyncio.Task[Mapping[str, Any]]] = set()

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
        self._asked.add(asked)
        asked.add_done_callback(self._done)
        return await asyncio.shield(asked)

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
            worked = server.processor_seconds - before
        log.error("a chat template has not ended", seconds=PATIENCE, processor_seconds=worked)
        self._endless += worked >= CPU_SECONDS
        self._on_endless()
        if worked < CPU_SECONDS:
            raise NotRendered(
                pb.INTERNAL,
                f"llama.cpp has not rendered the conversation in {PATIENCE:g} s",
                "see what else the machine does; another worker may succeed",
            )
        raise NotRendered(
            pb.BAD_REQUEST,
            f"the model's chat template has not ended in {PATIENCE:g} s for this conversation",
            "choose another model, or send the text as `prompt`",
        )

    def _done(self, asked: "asyncio.Task[Mapping[str, Any]]") -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # who asked has it; of one that was cancelled nobody misses it
