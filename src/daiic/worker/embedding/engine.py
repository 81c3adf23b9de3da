"""The engine of a sentence embedding model."""

import asyncio
import gc
from collections.abc import AsyncGenerator

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.embedding.embedder import Embedder
from daiic.worker.weights import Weights


class EmbeddingEngine:
    """See `daiic.worker.engine.Engine`."""

    kind = pb.EMBEDDING

    def __init__(self, weights: Weights, embedder: Embedder) -> None:
        self.footprint = weights.footprint
        self.quantization = weights.quantization
        self.placement = weights.placement
        self.fallback = weights.fallback
        self._embedder: Embedder | None = embedder

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
        yield await self._embedder.answer(task)

    async def close(self) -> None:
        """Give the memory back; what runs ends with its batch."""
        self._embedder = None
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
