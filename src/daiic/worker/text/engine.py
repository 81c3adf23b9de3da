"""The engine of a language model: tasks in, parts of their answers out."""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator
from typing import Any

import structlog
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.embedding.embedder import Embedder
from daiic.worker.text import parameters, prompt
from daiic.worker.text.batch import Batch
from daiic.worker.text.parameters import Parameters
from daiic.worker.text.transcript import Transcript
from daiic.worker.weights import Weights

RATE_WEIGHT = 0.2
"""Of the newest task in the average rate."""

log = structlog.get_logger()


class TextEngine:
    """See `daiic.worker.engine.Engine`. It answers embed tasks too, with its hidden states.

    `rate` is the tokens/s that one task gets, averaged over the last ones;
    `tokens` counts those of all tasks together; `stalled` is for how many
    seconds there has been work and no progress, and `alive` is false once
    generation has failed for good.
    """

    kind = pb.TEXT

    def __init__(self, weights: Weights, tokenizer: Any, batch: Batch, embedder: Embedder) -> None:
        self.footprint = weights.footprint
        self.quantization = weights.quantization
        self.placement = weights.placement
        self.fallback = weights.fallback
        self.rate = 0.0
        self._model: Any = weights.model
        self._tokenizer = tokenizer
        self._batch = batch
        self._embedder = embedder
        self._context = min(
            getattr(
                weights.model.config.get_text_config(), "max_position_embeddings", batch.capacity
            ),
            batch.capacity,
        )
        self._end_tokens = _end_tokens(weights.model, tokenizer)

    @property
    def tokens(self) -> int:
        """Tokens generated so far, all tasks together."""
        return self._batch.tokens

    @property
    def stalled(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        return self._batch.stalled

    @property
    def alive(self) -> bool:
        """Whether it can still generate."""
        return self._batch.alive

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer a text task, in parts if it wants to be streamed, or an embed task."""
        work = task.WhichOneof("work")
        if work == "embed":
            yield await self._embedder.answer(task)
            return
        if work != "text":
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} is a language model and cannot do a task of the kind `{work}`",
                "send a text or an embed task, or choose another model",
            )
        prompt_tokens, wanted = await asyncio.to_thread(self._prepare, task.text)
        transcript = Transcript(
            self._tokenizer.backend_tokenizer,
            stop=wanted.stop,
            end_tokens=self._end_tokens,
            max_tokens=wanted.max_tokens,
        )
        transcript.resume(task.resume)
        if not transcript.finish_reason:
            resumed = list(task.resume.tokens)
            began = time.monotonic()
            generation = self._batch.submit(
                prompt_tokens + resumed,
                wanted.sampling,
                max_tokens=wanted.max_tokens - len(resumed),
                end_tokens=self._end_tokens,
                each_token=task.stream or bool(wanted.stop),
            )
            try:
                while not transcript.finish_reason:
                    for token in await generation.new_tokens():
                        transcript.push(token)
                    if task.stream and not transcript.finish_reason:
                        text, tokens = transcript.take()
                        yield pb.Result(text=text, tokens=tokens)
            finally:
                self._batch.cancel(generation)
            self._measure(transcript.count - len(resumed), time.monotonic() - began)
        text, tokens = transcript.take()
        yield pb.Result(
            final=True,
            text=text,
            tokens=tokens,
            finish_reason=transcript.finish_reason,
            usage=pb.Usage(prompt_tokens=len(prompt_tokens), completion_tokens=transcript.count),
        )

    async def close(self) -> None:
        """End what runs with SHUTTING_DOWN and give the memory back."""
        await self._batch.close()
        del self._model, self._batch, self._embedder
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _prepare(self, task: pb.TextTask) -> tuple[list[int], Parameters]:
        tokens = prompt.encode(self._tokenizer, task)
        wanted = parameters.resolve(
            task,
            self._model.generation_config,
            prompt_tokens=len(tokens),
            context=self._context,
        )
        return tokens, wanted

    def _measure(self, tokens: int, seconds: float) -> None:
        rate = tokens / max(seconds, 1e-6)
        self.rate = rate if not self.rate else self.rate + RATE_WEIGHT * (rate - self.rate)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text, as generation_config and the tokenizer name them."""
    named = model.generation_config.eos_token_id
    tokens = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(token for token in tokens if token is not None)
