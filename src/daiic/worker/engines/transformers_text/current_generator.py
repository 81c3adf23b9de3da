"""What generates for an engine's tasks now: exchanged when it fails, is full, or has been idle."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.growth import RESERVE, Growth
from daiic.worker.engines.transformers_text.text_generator import TextGenerator

CROWDED = 0.9
"""Share of the cache that texts may take before it grows."""

PATIENCE = 5.0
"""Seconds after which memory for a larger cache is looked for again when there was none."""

IDLE = 60.0
"""Seconds without work after which a cache that has grown is small again."""

log = structlog.get_logger()


class CurrentGenerator:
    """A `generator`, and the next ones. Texts that run when it is exchanged go on in the new one.

    A text's stream then ends before the text, which is submitted to what `with_room_for` returns.
    """

    def __init__(
        self,
        generator: TextGenerator,
        new: Callable[[int], TextGenerator],
        growth: Growth | None,
    ) -> None:
        """`new` makes one of another capacity, and `growth` says how large it may be.

        `growth` is `None` if the generator takes memory as it needs it.
        """
        self.generator = generator
        self._new = new
        self._growth = growth
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self._closed = False
        self._refused_until = 0.0
        self._shrinking: asyncio.TimerHandle | None = None

    async def with_room_for(self, length: int) -> TextGenerator:
        """Return it, with room for a text that has `length` tokens.

        Raises:
            TaskError: OUT_OF_MEMORY if there is none, SHUTTING_DOWN after `close`.
        """
        self._check_open()
        generator = self.generator
        needed = generator.occupied + length + RESERVE
        fits = self._growth is None or needed <= generator.capacity
        if self._changing.locked() or not generator.alive or not fits:
            await self._undisturbed(self._prepare_for(length))
            generator = self.generator
        if self._growth is not None and length >= generator.capacity:
            raise TaskError(
                pb.OUT_OF_MEMORY,
                f"the text has {length} tokens, and there is memory for {generator.capacity} now",
                "try again when other models need less, or send a shorter text",
            )
        return generator

    async def grow_if_crowded(self, generator: TextGenerator) -> None:
        """Let the cache of `generator` grow before its texts have to wait for each other."""
        if self._growth is None or generator.occupied < CROWDED * generator.capacity:
            return
        if generator is self.generator and asyncio.get_running_loop().time() > self._refused_until:
            await self._undisturbed(self._relieve(generator))

    def shrink_later(self) -> None:
        """Give a grown cache's memory back to others when nothing has run for a while."""
        growth = self._growth
        if growth is None or self._closed or self.generator.capacity <= growth.start:
            return
        if self._shrinking is not None:
            self._shrinking.cancel()
        self._shrinking = asyncio.get_running_loop().call_later(
            IDLE, lambda: self._undisturbed(self._shrink(growth.start))
        )

    async def close(self) -> None:
        """End what runs with SHUTTING_DOWN and give the memory back."""
        self._closed = True
        if self._shrinking is not None:
            self._shrinking.cancel()
        async with self._changing:
            await self.generator.close()
        del self.generator, self._new

    def _check_open(self) -> None:
        if self._closed:
            raise TaskError(pb.SHUTTING_DOWN, "the model is being unloaded", "send the task again")

    async def _prepare_for(self, length: int) -> None:
        async with self._changing:
            self._check_open()
            if not self.generator.alive:
                log.warning("starting generation again after it failed")
                await self._exchange(self.generator.capacity)
            await self._grow(self.generator.occupied + length + RESERVE)

    async def _relieve(self, generator: TextGenerator) -> None:
        async with self._changing:
            if generator is self.generator and not self._closed:
                await self._grow(generator.capacity + RESERVE)

    async def _grow(self, needed: int) -> None:
        """Exchange the cache for a larger one, if memory allows; texts go on in the new one."""
        before = self.generator.capacity
        if self._growth is None or needed <= before:
            return
        capacity = self._growth.capacity(before, needed)
        if capacity > before:
            log.info("the cache grows", tokens=capacity, before=before)
            await self._exchange(capacity)
            if not await self.generator.ready():
                log.warning("the cache cannot grow", tokens=capacity)
                await self._exchange(before)
        if self.generator.capacity == before:
            self._refused_until = asyncio.get_running_loop().time() + PATIENCE

    async def _shrink(self, capacity: int) -> None:
        async with self._changing:
            if not self._closed and not self.generator.occupied:
                log.info("the cache shrinks", tokens=capacity, before=self.generator.capacity)
                await self._exchange(capacity)

    async def _exchange(self, capacity: int) -> None:
        """Put a generator of another capacity in place; what runs is submitted to it again."""
        await self.generator.close(interrupt=True)
        self.generator = self._new(capacity)

    def _undisturbed(self, change: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
        """Run `change` to its end, even if the task that asked for it is cancelled."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return asyncio.shield(task)
