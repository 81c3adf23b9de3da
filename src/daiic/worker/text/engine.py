"""The engine of a language model: tasks in, parts of their answers out."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from typing import Any

import structlog
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.embedding.embedder import Embedder
from daiic.worker.text import parameters, prompt
from daiic.worker.text.batch import Batch
from daiic.worker.text.chat_template import ChatTemplate
from daiic.worker.text.parameters import Parameters
from daiic.worker.text.transcript import Transcript
from daiic.worker.weights import Weights

log = structlog.get_logger()


class TextEngine:
    """See `daiic.worker.engine.Engine`. It answers embed tasks too, with its hidden states."""

    kind = pb.TEXT

    def __init__(
        self,
        weights: Weights,
        tokenizer: Any,
        template: ChatTemplate | None,
        embedder: Embedder,
        new_batch: Callable[[], Batch],
    ) -> None:
        """`new_batch` is called now, and again after a generation has failed as a whole."""
        self.footprint = weights.footprint
        self.quantization = weights.quantization
        self.placement = weights.placement
        self.fallback = weights.fallback
        self._model: Any = weights.model
        self._tokenizer = tokenizer
        self._template = template
        self._embedder = embedder
        self._new_batch = new_batch
        self._batch = new_batch()
        self._renewing = asyncio.Lock()
        known = getattr(weights.model.config.get_text_config(), "max_position_embeddings", None)
        self._context = min(known or self._batch.capacity, self._batch.capacity)
        self._end_tokens = _end_tokens(weights.model, tokenizer)

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        return self._batch.stalled_for

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer a text task in parts, as tokens come, or an embed task at once."""
        work = task.WhichOneof("work")
        if work == "embed":
            if self._model.config._attn_implementation.startswith("paged|"):
                # Until transformers 5.16 batching leaves the model with attention for itself only.
                raise TaskError(
                    pb.BAD_REQUEST,
                    f"{task.model} makes no embeddings with this worker's version of transformers",
                    "choose an embedding model, or update transformers to 5.17",
                )
            yield await self._embedder.answer(task)
            return
        if work != "text":
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} is a language model and cannot do a task of the kind `{work}`",
                "send a text or an embed task, or choose another model",
            )
        text = await prompt.text_of(self._template, task.text)
        prompt_tokens, wanted = await asyncio.to_thread(self._prepare, task.text, text)
        transcript = Transcript(
            self._tokenizer.backend_tokenizer,
            stop=wanted.stop,
            end_tokens=self._end_tokens,
            max_tokens=wanted.max_tokens,
        )
        transcript.resume(task.resume)
        if not transcript.finish_reason:
            so_far = prompt_tokens + list(task.resume.tokens)
            batch = await self._living_batch()
            generation = None
            try:
                while not transcript.finish_reason:
                    # Until transformers 5.12, what had to make room in the cache ends early.
                    if generation is None or generation.ended:
                        generation = batch.submit(
                            so_far,
                            wanted.sampling,
                            max_tokens=wanted.max_tokens - transcript.count,
                            end_tokens=self._end_tokens,
                        )
                    for token in await generation.new_tokens():
                        transcript.push(token)
                        so_far.append(token)
                    if not transcript.finish_reason:
                        text, tokens = transcript.take()
                        yield pb.Result(text=text, tokens=tokens)
            finally:
                if generation is not None:
                    batch.cancel(generation)
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
        if self._template is not None:
            self._template.close()
        await self._batch.close()
        del self._model, self._batch, self._new_batch, self._embedder
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _prepare(self, task: pb.TextTask, text: str) -> tuple[list[int], Parameters]:
        tokens = prompt.encode(self._tokenizer, task, text)
        wanted = parameters.resolve(
            task,
            self._model.generation_config,
            prompt_tokens=len(tokens),
            context=self._context,
        )
        return tokens, wanted

    async def _living_batch(self) -> Batch:
        async with self._renewing:
            if not self._batch.alive:
                log.warning("starting generation again after it failed")
                await self._batch.close()
                self._batch = self._new_batch()
            return self._batch


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text, as generation_config and the tokenizer name them."""
    named = model.generation_config.eos_token_id
    tokens = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(token for token in tokens if token is not None)
