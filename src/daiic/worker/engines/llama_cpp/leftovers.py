"""What llama-server still computes of answers that nobody waits for any more.

It notices within a second or so that a connection was closed, and until then the answer keeps its
part of the cache.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from daiic.errors import TaskError
from daiic.worker.engines.interface import EngineDied, EngineOutOfMemory

POLL = 0.05
TWICE = 2
"""So many looks have to agree: an answer may have ended that we have not yet heard of."""
GRACE = 3.0
"""Seconds that a server gets which does not tell what it does."""


class Server(Protocol):
    """The llama-server that computes."""

    given_up: int
    """Requests that were closed before their end, since it was started."""
    lingering: set["asyncio.Task[None]"]
    """Streams that nobody waits for any more, and that are not closed yet."""
    begun: int
    """Streams of which something has come, and that have not ended."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    async def get(self, path: str) -> Mapping[str, Any]:
        """Return the JSON at `path`."""


class Leftovers:
    """The answers that were given up, as far as `server` may still compute them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._gone = 0
        self._one_at_a_time = asyncio.Lock()

    @property
    def any(self) -> bool:
        """Whether there may be some."""
        return bool(self._server.lingering) or self._gone != self._server.given_up

    async def gone(self) -> None:
        """Wait until there are none of those that there are now.

        Later ones have this to wait for themselves: else a stream of them would hold up all.
        """
        lingering = set(self._server.lingering)
        if lingering:
            await asyncio.wait(lingering)  # when they are closed they are given up
        now = self._server.given_up
        async with self._one_at_a_time:
            while self._gone < now and self._server.alive:
                given_up = self._server.given_up
                if await self._calm():
                    self._gone = given_up

    async def _calm(self) -> bool:
        """Return whether, by two looks, it computes no more than what is waited for."""
        for _ in range(TWICE):
            await asyncio.sleep(POLL)
            try:
                slots = (await self._server.get("/slots")).get("items", ())
            except (TaskError, EngineDied, EngineOutOfMemory):
                await asyncio.sleep(GRACE)
                return True
            if sum(bool(slot.get("is_processing")) for slot in slots) > self._server.begun:
                return False
        return True
