"""What engines have in common whose model is never quantised, and does work of one kind."""

import asyncio
import contextlib
import gc
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

import torch

from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.weights import Weights

Runner = TypeVar("Runner")


class OneModelEngine(ABC, Generic[Runner]):
    """An `Engine` of one model, whose `weights` a `runner` has; it does `work` of one kind."""

    library = "transformers"
    alive = True

    def __init__(
        self,
        weights: Weights,
        runner: Runner,
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
        self._runner: Runner | None = runner
        self._running = 0
        self._moved_at = 0.0

    @property
    def stalled_for(self) -> float:
        """Seconds since `_moved` was called while there is work; 0 while there is none."""
        return time.monotonic() - self._moved_at if self._running else 0.0

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer `task` in parts.

        Raises:
            TaskError: BAD_REQUEST for work of another kind, SHUTTING_DOWN once closed, and what the
                model's own work raises.
            EngineOutOfMemory, DeviceLost: as those say.
        """
        if task.WhichOneof("work") != self._work:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} makes {MODEL_KINDS[self.model_kind].makes} only",
                f"send a task of the kind `{self._work}`, or choose another model",
            )
        runner = self._runner
        if runner is None:
            raise TaskError(pb.SHUTTING_DOWN, f"{task.model} is being unloaded", "send it again")
        self._running += 1
        self._moved()
        try:
            with translated():
                async with contextlib.aclosing(self._parts(runner, task)) as parts:
                    async for part in parts:
                        yield part
        finally:
            self._running -= 1
            self._moved()

    async def close(self) -> None:
        """Give the memory back; what runs ends with its step."""
        self._stop()
        self._runner = None
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @abstractmethod
    def _parts(self, runner: Runner, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Yield the parts of the answer to `task`; calls `_moved` after each step."""

    @abstractmethod
    def _stop(self) -> None:
        """End the threads in which the model runs."""

    def _moved(self) -> None:
        self._moved_at = time.monotonic()
