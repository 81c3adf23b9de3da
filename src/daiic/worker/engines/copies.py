"""A model that one card holds, on several: a copy a card, and each task on the copy with the least.

There is one copy at first. When a task comes while every copy has work, another is loaded beside
that, on a card that has none. A copy that fails takes nothing with it: its tasks continue on the
others where they were.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace

import structlog

from daiic.answer_order import AnswerOrder
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import (
    Adaptable,
    Engine,
    EngineDied,
    EngineOutOfMemory,
    GuessesAhead,
    HasVoices,
    KeepsPrompts,
)
from daiic.worker.engines.llama_cpp.speculation import Speculation

PAUSE = 30.0
"""Seconds after a look for room for another copy that found none."""

Another = Callable[[Collection[int]], Awaitable[tuple[int, Engine] | None]]

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Copy:
    """A copy on the backend's card `card`, with the number of its tasks."""

    engine: Engine
    card: int
    running: int = 0


class Copies:
    """An `Engine` made of engines that are alike."""

    def __init__(self, name: str, first: Engine, card: int, spare: set[int], another: Another):
        """`first` is on `card`; `spare` are the cards that may get a copy of the model `name`.

        `another` loads a copy onto one of the cards that it is given and says which;
        `None` if none has the room now.
        """
        self.library = first.library
        self.model_kind = first.model_kind
        self.capabilities = first.capabilities
        self.quantization = first.quantization
        self.precision = first.precision
        self.placement = first.placement
        self.fallback = first.fallback
        self.choice = first.choice
        self.adapters = first.adapters if isinstance(first, Adaptable) else ()
        self.voices = first.voices if isinstance(first, HasVoices) else ()
        self._name = name
        self._why = first.choice
        self._copies = [Copy(first, card)]
        self._spare = spare
        self._another = another
        self._growing: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")
        self._closed = False

    @property
    def footprint(self) -> int:
        """Bytes of all copies."""
        return sum(copy.engine.footprint for copy in self._copies)

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step of the copy that does least about its work."""
        return max((copy.engine.stalled_for for copy in self._copies), default=0.0)

    @property
    def alive(self) -> bool:
        """Whether there is a copy that can run tasks."""
        return any(copy.engine.alive for copy in self._copies)

    @property
    def many(self) -> bool:
        """Whether there is more than one copy, so that it can `shrink`."""
        return len(self._copies) > 1

    @property
    def cache_tokens(self) -> int:
        """Tokens that all copies keep, each its own."""
        return sum(
            copy.engine.cache_tokens
            for copy in self._copies
            if isinstance(copy.engine, KeepsPrompts)
        )

    @property
    def speculation(self) -> Speculation | None:
        """How the guesses of all copies fare; `None` if they do not guess."""
        engines = [copy.engine for copy in self._copies]
        counted = [
            engine.speculation
            for engine in engines
            if isinstance(engine, GuessesAhead) and engine.speculation is not None
        ]
        if not counted:
            return None
        return replace(
            counted[0],
            drafted=sum(one.drafted for one in counted),
            accepted=sum(one.accepted for one in counted),
        )

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer `task` on the copy with the fewest tasks, and on another if that one fails."""
        own = pb.Task()
        own.CopyFrom(task)
        order = AnswerOrder(own)
        while True:
            copy = await self._least_loaded()
            copy.running += 1
            try:
                async with contextlib.aclosing(copy.engine.run(order.task)) as parts:
                    async for part in parts:
                        part.index = order.next_index
                        order.accept(part)
                        yield part
                return
            except (EngineOutOfMemory, MemoryError, EngineDied) as error:
                if copy in self._copies and len(self._copies) == 1:
                    raise
                await self._drop(copy, str(error) or type(error).__name__)
            except Exception:
                if copy in self._copies or not self._copies:
                    raise
            finally:
                copy.running -= 1
            order.resume_here()

    async def shrink(self) -> bool:
        """Give back the memory of a copy, whose tasks move on; return whether there was one.

        The last copy stays.
        """
        if not self.many:
            return False
        copy = min(self._copies, key=lambda copy: copy.running)
        await self._drop(copy, "")
        self._spare.add(copy.card)
        self._looked_at = time.monotonic()
        return True

    async def close(self) -> None:
        """Close all copies, one that is being loaded too, which cannot be stopped."""
        self._closed = True
        if self._growing is not None:
            await asyncio.wait({self._growing})
        while self._copies:
            await self._copies.pop().engine.close()

    async def _least_loaded(self) -> Copy:
        for copy in [copy for copy in self._copies if not copy.engine.alive]:
            await self._drop(copy, "it has died")
        if not self._copies:
            raise EngineDied("all copies of the model are gone")
        chosen = min(self._copies, key=lambda copy: copy.running)
        if (
            chosen.running
            and self._spare
            and self._growing is None
            and time.monotonic() - self._looked_at >= PAUSE
        ):
            self._growing = asyncio.create_task(self._grow())
        return chosen

    async def _grow(self) -> None:
        before = set(self._spare)
        try:
            found = await self._another(before)
        except Exception as error:
            # What failed would fail again; the copies that there are serve on.
            self._spare.clear()
            log.warning("no further copy of the model", model=self._name, reason=str(error))
            return
        finally:
            self._growing = None
            self._looked_at = time.monotonic()
        if found is None:
            return
        card, engine = found
        if self._closed or not self._alike(engine):
            self._spare.discard(card)
            await engine.close()
            return
        self._spare.discard(card)
        self._copies.append(Copy(engine, card))
        self._looked_at = float("-inf")
        self._tell()
        log.info("another copy of the model loaded", model=self._name, copies=len(self._copies))

    def _alike(self, engine: Engine) -> bool:
        """Whether `engine` computes what the first copy does, so that tasks can move."""
        mine, its = ((one.quantization, one.precision, one.capabilities) for one in (self, engine))
        return mine == its

    async def _drop(self, copy: Copy, reason: str) -> None:
        """Close a copy; its card gets none again until the model is loaded again."""
        if copy not in self._copies:
            return
        self._copies.remove(copy)
        self._tell()
        if reason:
            log.error("a copy of the model is gone", model=self._name, reason=reason)
        with contextlib.suppress(Exception):
            await copy.engine.close()

    def _tell(self) -> None:
        count = len(self._copies)
        self.choice = self._why + (f"; {count} copies, each on its card" if count > 1 else "")
