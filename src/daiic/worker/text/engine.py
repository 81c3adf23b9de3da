"""The engine of a language model: tasks in, parts of their answers out."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import structlog
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.embedding.embedder import Embedder
from daiic.worker.one_thread import OneThread
from daiic.worker.text import parameters, prompt
from daiic.worker.text.chat_template import ChatTemplate
from daiic.worker.text.choice import Server
from daiic.worker.text.growth import RESERVE, Growth
from daiic.worker.text.parameters import Parameters
from daiic.worker.text.transcript import Transcript
from daiic.worker.weights import Weights

CROWDED = 0.9
"""Share of the cache that texts may take before it grows."""

PATIENCE = 5.0
"""Seconds after which memory for a larger cache is looked for again when there was none."""

IDLE = 60.0
"""Seconds without work after which a cache that has grown is small again."""

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
        server: Server,
        new_server: Callable[[int], Server],
        *,
        growth: Growth | None,
        context: int,
        fallback: str,
    ) -> None:
        """`new_server` makes one like `server`, with a capacity, when that has failed or is full.

        `growth` says how large it may be, `None` if it takes memory as it needs
        it. A text has at most `context` tokens. `fallback` is why texts are not batched.
        """
        self.quantization = weights.quantization
        self.placement = weights.placement
        self.fallback = "; ".join(reason for reason in (weights.fallback, fallback) if reason)
        self._weights_bytes = weights.footprint
        self._model: Any = weights.model
        self._tokenizer = tokenizer
        self._thread = OneThread("tokens")
        self._template = template
        self._embedder = embedder
        self._server = server
        self._new_server = new_server
        self._growth = growth
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self._closed = False
        self._refused_until = 0.0
        self._shrinking: asyncio.TimerHandle | None = None
        self._context = context
        self._end_tokens = _end_tokens(weights.model, tokenizer)

    @property
    def footprint(self) -> int:
        """Bytes of the weights and of the cache as large as it is now."""
        return self._weights_bytes + self._server.bytes

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        return self._server.stalled_for

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer a text task in parts, as tokens come, or an embed task at once."""
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
        text = await prompt.text_of(self._template, task.text)
        # A hostile tokenizer may take for ever, of which cancelling frees nothing: it must not hold
        # threads that others share, and no more than one.
        prompt_tokens, wanted = await asyncio.wrap_future(
            self._thread.submit(lambda: self._prepare(task.text, text))
        )
        transcript = Transcript(
            self._tokenizer.backend_tokenizer,
            stop=wanted.stop,
            end_tokens=self._end_tokens,
            max_tokens=wanted.max_tokens,
        )
        transcript.resume(task.resume)
        if not transcript.finish_reason:
            so_far = prompt_tokens + list(task.resume.tokens)
            server: Server | None = None
            generation = None
            try:
                while not transcript.finish_reason:
                    # It has ended before the text if it had to leave a cache that became too small.
                    if server is None or generation is None or generation.ended:
                        server = await self._server_for(len(so_far))
                        generation = server.submit(
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
                        if tokens:
                            yield pb.Result(text=text, tokens=tokens)
                        await self._grow_if_crowded(server)
            finally:
                if server is not None and generation is not None:
                    server.cancel(generation)
                self._shrink_later()
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
        self._thread.stop()
        self._embedder.stop()
        self._closed = True
        if self._shrinking is not None:
            self._shrinking.cancel()
        async with self._changing:
            await self._server.close()
        self._growth = None
        del self._model, self._server, self._new_server, self._embedder
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _prepare(self, task: pb.TextTask, text: str) -> tuple[list[int], Parameters]:
        tokens = prompt.encode(self._tokenizer, task, text, self._context)
        wanted = parameters.resolve(
            task,
            self._model.generation_config,
            prompt_tokens=len(tokens),
            context=self._context,
        )
        return tokens, wanted

    async def _server_for(self, length: int) -> Server:
        """Return what generates now, with room for a text that has `length` tokens."""
        server = self._server
        needed = server.occupied + length + RESERVE
        fits = self._growth is None or needed <= server.capacity
        if self._changing.locked() or not server.alive or not fits:
            await self._undisturbed(self._prepare_for(length))
            server = self._server
        if self._growth is not None and length >= server.capacity:
            raise TaskError(
                pb.OUT_OF_MEMORY,
                f"the text has {length} tokens, and there is memory for {server.capacity} now",
                "try again when other models need less, or send a shorter text",
            )
        return server

    async def _prepare_for(self, length: int) -> None:
        async with self._changing:
            if self._closed:
                raise TaskError(
                    pb.SHUTTING_DOWN, "the model is being unloaded", "send the task again"
                )
            if not self._server.alive:
                log.warning("starting generation again after it failed")
                await self._exchange(self._server.capacity)
            await self._grow(self._server.occupied + length + RESERVE)

    async def _grow_if_crowded(self, server: Server) -> None:
        """Let the cache of `server` grow before its texts have to wait for each other."""
        if self._growth is None or server.occupied < CROWDED * server.capacity:
            return
        if server is self._server and asyncio.get_running_loop().time() > self._refused_until:
            await self._undisturbed(self._relieve(server))

    async def _relieve(self, server: Server) -> None:
        async with self._changing:
            if server is self._server and not self._closed:
                await self._grow(server.capacity + RESERVE)

    async def _grow(self, needed: int) -> None:
        """Exchange the cache for a larger one, if memory allows; texts go on in the new one."""
        before = self._server.capacity
        if self._growth is None or needed <= before:
            return
        capacity = self._growth.capacity(before, needed)
        if capacity > before:
            log.info("the cache grows", tokens=capacity, before=before)
            await self._exchange(capacity)
            if not await self._server.ready():
                log.warning("the cache cannot grow", tokens=capacity)
                await self._exchange(before)
        if self._server.capacity == before:
            self._refused_until = asyncio.get_running_loop().time() + PATIENCE

    def _shrink_later(self) -> None:
        """Give a grown cache's memory back to others when nothing has run for a while."""
        growth = self._growth
        if growth is None or self._closed or self._server.capacity <= growth.start:
            return
        if self._shrinking is not None:
            self._shrinking.cancel()
        self._shrinking = asyncio.get_running_loop().call_later(
            IDLE, lambda: self._undisturbed(self._shrink(growth.start))
        )

    async def _shrink(self, capacity: int) -> None:
        async with self._changing:
            if not self._closed and not self._server.occupied:
                log.info("the cache shrinks", tokens=capacity, before=self._server.capacity)
                await self._exchange(capacity)

    async def _exchange(self, capacity: int) -> None:
        """Put a server of another capacity in place; what runs is submitted to it again."""
        await self._server.close(interrupt=True)
        self._server = self._new_server(capacity)

    def _undisturbed(self, change: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
        """Run `change` to its end, even if the task that asked for it is cancelled."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return asyncio.shield(task)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text, as generation_config and the tokenizer name them."""
    named = model.generation_config.eos_token_id
    tokens = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(token for token in tokens if token is not None)
