"""A task's place in a llama-server: room in the cache that all share, and a slot."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from daiic.errors import TaskError
from daiic.worker.engines.interface import EngineDied, EngineOutOfMemory
from daiic.worker.engines.llama_cpp.room import SharedCache
from daiic.worker.engines.llama_cpp.slots import Slot, Slots

ANY = -1
"""The number of a slot that llama-server chooses itself."""

log = structlog.get_logger()


class Server(Protocol):
    """The llama-server that has the slots."""

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the JSON with which it answers `body`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a task takes: `tokens` at most, `expected` most likely; `prompt` as `Slot` has it."""

    tokens: int
    expected: int
    prompt: bytes = b""


@dataclass(slots=True)
class Seat:
    """The number of a task's slot, and how many tokens of the cache it has so far."""

    slot: int
    tokens: int


class Seats:
    """Those of a llama-server that runs."""

    def __init__(self, server: Server, cache: SharedCache, slots: Slots) -> None:
        self._server = server
        self._cache = cache
        self._slots = slots

    @contextlib.asynccontextmanager
    async def held(self, wanted: Wanted) -> AsyncIterator[Seat]:
        """Wait for room and a slot, and have them until the end, or until the server stops.

        Who has it says in `Seat.tokens` how many it has in the end.
        """
        slot: Slot | None = None
        seat = Seat(ANY, wanted.expected)

        def left() -> None:
            if slot is not None:
                self._slots.give_back(slot, seat.tokens)

        async with self._cache.held(wanted.tokens, left):
            slot, forgetting = self._slots.take(wanted.prompt, wanted.expected)
            if slot is not None:
                seat.slot = slot.number
            await asyncio.gather(*map(self._forget, forgetting))
            yield seat

    async def _forget(self, slot: Slot) -> None:
        """Have `slot` compute one token, for which it drops what it has."""
        body = {"prompt": [0], "n_predict": 0, "id_slot": slot.number, "cache_prompt": False}
        try:
            await self._server.post("/completion", body)
        except (TaskError, EngineDied, EngineOutOfMemory) as error:
            log.debug("a slot has not forgotten", slot=slot.number, error=str(error))

    def close(self) -> None:
        """Wait for nothing any more."""
        self._cache.close()
