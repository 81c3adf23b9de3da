"""The engine of a sentence embedding model."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.transformers_embedding.embedder import Embedder
from daiic.worker.engines.transformers_embedding.probe import CAPABILITIES


class EmbeddingEngine:
    """An `Engine` of one model."""

    library = "transformers"
    choice = "safetensors of a text encoder, which is never quantised"
    model_kind = pb.EMBEDDING
    capabilities = CAPABILITIES
    alive = True

    def __init__(self, weights: Weights, embedder: Embedder) -> None:
        self.footprint = weights.footprint
        self.quantization = weights.quantization
        self.precision = weights.precision
        self.placement = weights.placement
        self.fallback = weights.fallback
        self._embedder: Embedder | None = embedder
        self._running = 0
        self._moved_at = 0.0

    @property
    def stalled_for(self) -> float:
        """Seconds since a batch began or ended while there is work; 0 while there is none."""
        return time.monotonic() - self._moved_at if self._running else 0.0

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer an embed task with one part."""
        if task.WhichOneof("work") != "embed":
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} makes embeddings only",
                "send an embed task, or choose a language model",
            )
        if self._embedder is None:
            raise TaskError(pb.SHUTTING_DOWN, f"{task.model} is being unloaded", "send it again")
        self._running += 1
        self._moved()
        try:
            with translated():
                answer = await self._embedder.answer(task, self._moved)
            yield answer
        finally:
            self._running -= 1
            self._moved()

    def _moved(self) -> None:
        self._moved_at = time.monotonic()

    async def close(self) -> None:
        """Give the memory back; what runs ends with its batch."""
        if self._embedder is not None:
            self._embedder.stop()
        self._embedder = None
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
