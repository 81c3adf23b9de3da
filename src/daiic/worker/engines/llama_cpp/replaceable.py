"""A llama-server that another takes the place of while tasks run, with the model loaded again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from daiic.worker.engines.interface import EngineDied, EngineOutOfMemory
from daiic.worker.engines.llama_cpp.leftovers import Leftovers
from daiic.worker.engines.llama_cpp.pool import Pool
from daiic.worker.engines.llama_cpp.room import SharedCache
from daiic.worker.engines.llama_cpp.seats import Seats
from daiic.worker.engines.llama_cpp.server import Server
from daiic.worker.engines.llama_cpp.slots import Slots

Start = Callable[[bool], Awaitable[Server]]
"""Starts a llama-server with the same model, which may guess ahead or not."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A llama-server, and the places that its tasks have in it."""

    server: Server
    seats: Seats


class Replaceable:
    """The llama-server of an engine: the one that runs now, and the one that comes."""

    def __init__(self, server: Server, start: Start | None, pool: Pool) -> None:
        """Its cache and its slots are those of `pool`.

        Without `start` there is no other: one that has to go takes the engine with it.
        """
        self._start = start
        self._pool = pool
        self._running = self._runs(server)
        self._coming: asyncio.Task[None] | None = None

    def _runs(self, server: Server) -> Running:
        cache = SharedCache(self._pool.tokens, Leftovers(server))
        return Running(server, Seats(server, cache, Slots(self._pool.slots, self._pool.tokens)))

    @property
    def server(self) -> Server:
        """The llama-server that runs."""
        return self._running.server

    @property
    def coming(self) -> bool:
        """Whether another is being started."""
        return self._coming is not None

    @property
    def can_be_replaced(self) -> bool:
        """Whether there is another to be had."""
        return self._start is not None and self.alive

    @property
    def alive(self) -> bool:
        """Whether there is one, or another comes."""
        return self.coming or self.server.alive

    async def ready(self) -> Running:
        """Return what runs, the other one if that comes, whose cache is empty.

        Raises:
            EngineDied, EngineOutOfMemory: if it cannot be started.
        """
        while self._coming is not None:
            await asyncio.shield(self._coming)
        return self._running

    def is_gone(self, running: Running) -> bool:
        """Return whether another takes or took the place of this, so that tasks continue."""
        return running is not self._running or self.coming

    def replace(self, reason: str, *, guesses: bool) -> None:
        """End the server and start another, unless one comes; `guesses` as `Start` takes it."""
        if self.coming:
            return
        if self._start is None:
            self.server.kill(f"llama-server is ended: {reason}")
            return
        log.info("llama-server is started again", reason=reason)
        self._coming = asyncio.create_task(self._replaced(self._start, reason, guesses))
        self._coming.add_done_callback(_retrieve)

    async def _replaced(self, start: Start, reason: str, guesses: bool) -> None:
        try:
            self.server.kill(f"llama-server is ended: {reason}")
            await self._end()
            self._running = self._runs(await start(guesses))
        except asyncio.CancelledError:
            raise EngineDied("the model leaves memory") from None
        except EngineOutOfMemory:
            raise
        except Exception as error:
            raise EngineDied(f"llama-server cannot be started again: {error}") from None
        finally:
            self._coming = None

    async def close(self) -> None:
        """End it."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})
        await self._end()

    async def _end(self) -> None:
        self._running.seats.close()
        await self.server.close()


def _retrieve(coming: "asyncio.Task[None]") -> None:
    if not coming.cancelled():
        coming.exception()  # tasks that wait have it
