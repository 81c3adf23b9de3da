"""What engines have in common whose models read texts, and answer each task with one part."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import torch

from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.weights import Weights


class Reader(Protocol):
    """What answers the tasks."""

    async def answer(self, task: pb.Task, moved: Callable[[], None]) -> pb.Result:
        """Return the only part of the answer; `moved` is called after each batch."""

    def stop(self) -> None:
        """End its thread."""


class EncoderEngine:
    """An `Engine` of one model, which does `work` of one kind and is never quantised."""

    library = "transformers"
    alive = True

    def __init__(
        self,
        weights: Weights,
        reader: Reader,
        *,
        kind: pb.ModelKind,
        work: str,
        capabilities: frozenset[pb.Capability],
        choice: str,
    ) -> None:
        self.footprint = weights.footprint
        self.quantization = weights.quantization
        self.precision = weights.precision
        self.placement = weights.placement
        self.fallback = weights.fallback
        self.model_kind = kind
        self.capabilities = capabilities
        self.choice = choice
        self._work = work
        self._reader: Reader | None = reader
        self._running = 0
        self._moved_at = 0.0

    @property
    def stalled_for(self) -> float:
        """Seconds since a batch began or ended while there is work; 0 while there is none."""
        return time.monotonic() - self._moved_at if self._running else 0.0

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer a task with one part."""
        if task.WhichOneof("work") != self._work:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} makes {MODEL_KINDS[self.model_kind].makes} only",
                f"send a task of the kind `{self._work}`, or choose another model",
            )
        if self._reader is None:
            raise TaskError(pb.SHUTTING_DOWN, f"{task.model} is being unloaded", "send it again")
        self._running += 1
        self._moved()
        try:
            with translated():
                answer = await self._reader.answer(task, self._moved)
            yield answer
        finally:
            self._running -= 1
            self._moved()

    def _moved(self) -> None:
        self._moved_at = time.monotonic()

    async def close(self) -> None:
        """Give the memory back; what runs ends with its batch."""
        if self._reader is not None:
            self._reader.stop()
        self._reader = None
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
