"""The cache that all tasks of a llama-server share: who may use how much of it, and who waits.

When its tokens run out llama-server fails every task that it runs. So a task begins once there is
room for its prompt and the longest answer that it may get, in the order in which tasks came. What
earlier tasks have left there for later ones takes no room: llama-server gives it up as needed.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from daiic.worker.engines.llama_cpp.leftovers import Leftovers


@dataclass(slots=True, eq=False)
class Place:
    """A task's part of the cache; `admitted` once it has it."""

    tokens: int
    on_admitted: Callable[[], None]
    admitted: bool = False


class Room:
    """`free` of the cache's tokens, and the tasks that wait for more."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.free = tokens
        self._waiting: deque[Place] = deque()

    @property
    def waiting(self) -> int:
        """Tasks that wait."""
        return len(self._waiting)

    def enter(self, tokens: int, on_admitted: Callable[[], None]) -> Place:
        """Ask for so many tokens; `on_admitted` is called once, maybe at once.

        Raises:
            ValueError: if there are not so many even in an empty cache.
        """
        if tokens > self.tokens:
            raise ValueError(f"{tokens} tokens never fit into {self.tokens}")
        place = Place(tokens, on_admitted)
        self._waiting.append(place)
        self._admit()
        return place

    def leave(self, place: Place) -> None:
        """Give back what `place` has, or stop waiting for it."""
        if place.admitted:
            self.free += place.tokens
        else:
            self._waiting.remove(place)
        self._admit()

    def _admit(self) -> None:
        # Nobody overtakes: a long task would wait for ever behind short ones.
        while self._waiting and self._waiting[0].tokens <= self.free:
            place = self._waiting.popleft()
            self.free -= place.tokens
            place.admitted = True
            place.on_admitted()


class SharedCache:
    """The cache of a server that runs: a `Room` that minds what the server has left over."""

    def __init__(self, tokens: int, leftovers: Leftovers) -> None:
        self._room = Room(tokens)
        self._leftovers = leftovers
        self._leaving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def held(
        self, tokens: int, on_left: Callable[[], None] = lambda: None
    ) -> AsyncIterator[None]:
        """Wait for so many tokens of it, and have them until the end.

        `on_left` is called when they are free again, which may be later, once they were had.
        """
        admitted = asyncio.Event()
        place = self._room.enter(tokens, admitted.set)
        try:
            await admitted.wait()
            yield
        finally:
            if place.admitted and self._leftovers.any:
                leaving = asyncio.create_task(self._leave_later(place, on_left))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
            else:
                self._leave(place, on_left)

    async def _leave_later(self, place: Place, on_left: Callable[[], None]) -> None:
        try:
            await self._leftovers.gone()
        finally:
            self._leave(place, on_left)

    def _leave(self, place: Place, on_left: Callable[[], None]) -> None:
        if place.admitted:
            on_left()  # first: who gets the room may want the slot
        self._room.leave(place)

    def close(self) -> None:
        """Wait for nothing any more."""
        for leaving in self._leaving:
            leaving.cancel()
