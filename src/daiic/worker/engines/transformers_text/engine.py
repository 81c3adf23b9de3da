"""The engine of a language model: tasks in, parts of their answers out."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import structlog
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.text.checks import check_prompt_tokens, check_resumed
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.transformers_embedding.embedder import Embedder
from daiic.worker.engines.transformers_text import parameters, prompt
from daiic.worker.engines.transformers_text.adapters import PLAIN, Adapters
from daiic.worker.engines.transformers_text.answer import Begun, parts_of
from daiic.worker.engines.transformers_text.chat_template import ChatTemplate
from daiic.worker.engines.transformers_text.current_generator import CurrentGenerator
from daiic.worker.engines.transformers_text.grammar import Grammars
from daiic.worker.engines.transformers_text.growth import Growth
from daiic.worker.engines.transformers_text.guide import Guide
from daiic.worker.engines.transformers_text.parameters import Parameters
from daiic.worker.engines.transformers_text.probe import CHATS, COMPLETES
from daiic.worker.engines.transformers_text.reply import Replies, Reply
from daiic.worker.engines.transformers_text.rules import Rules, rules_of
from daiic.worker.engines.transformers_text.text_generator import TextGenerator
from daiic.worker.engines.transformers_text.token_bytes import TokenBytes
from daiic.worker.engines.transformers_text.transcript import Transcript
from daiic.worker.engines.transformers_vision.seeing import Seeing
from daiic.worker.engines.transformers_vision.seen import Seen
from daiic.worker.media.images import images_of

log = structlog.get_logger()


class TextEngine:
    """An `Engine` of a language model. It answers embed tasks too, with its hidden states."""

    library = "transformers"
    model_kind = pb.TEXT
    alive = True

    def __init__(
        self,
        weights: Weights,
        tokenizer: Any,
        template: ChatTemplate | None,
        embedder: Embedder | None,
        generator: TextGenerator,
        new_generator: Callable[[int], TextGenerator],
        *,
        growth: Growth | None,
        seeing: Seeing | None = None,
        context: int,
        choice: str,
        fallback: str,
        adapters: Adapters | None = None,
    ) -> None:
        """`new_generator` makes one of another capacity, for when `generator` fails or is full.

        `growth` says how large it may be, `None` if it takes memory as it needs
        it. A text has at most `context` tokens. `fallback` is why texts are not batched.
        Without an `embedder` it answers no embed tasks, and without `seeing` none with images.
        """
        self.capabilities = COMPLETES if template is None else CHATS
        if embedder is None:
            self.capabilities -= {pb.EMBED}
        if seeing is not None:
            self.capabilities |= {pb.SEE}
        self._adapters = adapters
        self.adapters = adapters.names if adapters is not None else ()
        if self.adapters:
            self.capabilities |= {pb.ADAPTERS}
        self.quantization = weights.quantization
        self.precision = weights.precision
        self.placement = weights.placement
        self.choice = choice
        self.fallback = "; ".join(reason for reason in (weights.fallback, fallback) if reason)
        self._weights_bytes = weights.footprint
        self._model: Any = weights.model
        self._tokenizer = tokenizer
        self._thread = OneThread("tokens")
        self._grammar_thread = OneThread("grammars")
        self._template = template
        self._embedder = embedder
        self._current = CurrentGenerator(generator, new_generator, growth)
        self._seeing = seeing
        self._context = context
        self._end_tokens = _end_tokens(weights.model, tokenizer)
        self._vocabulary = weights.model.config.get_text_config().vocab_size
        if not self._end_tokens:
            self.capabilities -= {pb.SCHEMA}
        self._token_bytes = TokenBytes(tokenizer)
        grammars = Grammars(tokenizer, self._vocabulary, self._end_tokens)
        traits = None if template is None else template.traits
        if traits is not None and traits.tools:
            self.capabilities |= {pb.TOOLS}
        self._replies = Replies(tokenizer, traits, grammars)

    @property
    def footprint(self) -> int:
        """Bytes of the weights and of the cache as large as it is now."""
        seeing = self._seeing.bytes if self._seeing is not None else 0
        return self._weights_bytes + self._current.generator.bytes + seeing

    @property
    def cache_tokens(self) -> int:
        """Tokens that the cache of a batch has now; texts that are not batched share nothing."""
        return self._current.generator.capacity

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        seeing = self._seeing.stalled_for if self._seeing is not None else 0.0
        return max(self._current.generator.stalled_for, seeing)

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer a text task in parts, as tokens come, or an embed task at once."""
        with translated():
            work = task.WhichOneof("work")
            if work == "embed" and task.adapters:
                raise TaskError(
                    pb.UNSUPPORTED,
                    f"{task.model} makes embeddings without its adapters",
                    "leave out `adapters`",
                )
            if work == "embed" and self._embedder is not None:
                yield await self._embedder.answer(task)
                return
            if work != "text":
                raise TaskError(
                    pb.BAD_REQUEST,
                    f"{task.model} is a language model and cannot do a task of the kind `{work}`",
                    "send a text or an embed task, or choose another model",
                )
            check_resumed(task.resume.tokens, self._vocabulary)
            check_prompt_tokens(task.text.prompt_tokens, self._vocabulary)
            images = images_of(task.text)
            text = await prompt.text_of(
                self._template, task.text, in_parts=self._seeing is not None
            )
            seen = await self._seen(text, images)
            chain = self._adapters.chain(task.adapters) if self._adapters is not None else PLAIN
            # A hostile tokenizer may take for ever, and cancelling frees nothing: it must not hold
            # threads that others share, and no more than one.
            prompt_tokens, wanted = await asyncio.wrap_future(
                self._thread.submit(lambda: self._prepare(task.text, text, seen))
            )
            reply = await self._reply(task.text, text, prompt_tokens, wanted)
            rules = rules_of(
                task.text.sampling,
                reply.grammar,
                temperature=wanted.sampling.temperature,
                vocabulary=self._vocabulary,
            )
            transcript = Transcript(
                self._tokenizer.backend_tokenizer,
                stop=wanted.stop,
                end_tokens=self._end_tokens,
                max_tokens=wanted.max_tokens,
                reading=reply.reading,
            )

            async def begin(so_far: list[int]) -> Begun:
                guide = await self._guide(rules, len(prompt_tokens), so_far)
                # Last, with nothing to wait for after it: a generator may be exchanged meanwhile.
                generator = await self._generator_for(len(so_far), seen)
                stream = generator.submit(
                    so_far,
                    wanted.sampling,
                    max_tokens=wanted.max_tokens - transcript.count,
                    end_tokens=self._end_tokens,
                    guide=guide,
                    seen=seen,
                    chain=chain,
                )
                return Begun(generator, stream, guide)

            parts = parts_of(
                prompt_tokens,
                task.resume,
                transcript,
                begin=begin,
                current=self._current,
                token_bytes=self._token_bytes,
            )
            async with aclosing(parts):
                async for part in parts:
                    yield part

    async def see_no_more(self, reason: str) -> None:
        """Refuse conversations with images from now on, for a `reason` that status shows."""
        log.warning("sees no images", reason=reason)
        self.capabilities -= {pb.SEE}
        self.fallback = "; ".join(filter(None, (self.fallback, f"sees no images: {reason}")))
        seeing, self._seeing = self._seeing, None
        if seeing is not None:
            await seeing.close()

    async def close(self) -> None:
        """End what runs with SHUTTING_DOWN and give the memory back."""
        if self._template is not None:
            self._template.close()
        self._thread.stop()
        self._grammar_thread.stop()
        if self._embedder is not None:
            self._embedder.stop()
        if self._seeing is not None:
            await self._seeing.close()
        await self._current.close()
        self._seeing = None
        del self._model, self._current, self._embedder
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def _reply(
        self, task: pb.TextTask, text: str, tokens: list[int], wanted: Parameters
    ) -> Reply:
        """Return how the answer to a prompt, `text` or its `tokens`, is read and held."""
        seed = wanted.sampling.seed
        if not (task.tools or task.HasField("constraint")):  # nothing to wait for others' grammars
            return self._replies.reply(task, text, tokens, seed)
        work = self._grammar_thread.submit(lambda: self._replies.reply(task, text, tokens, seed))
        return await asyncio.wrap_future(work)

    async def _generator_for(self, length: int, seen: Seen | None) -> TextGenerator:
        """Return what generates now, with room for a text that has `length` tokens."""
        if seen is not None and self._seeing is not None:
            return self._seeing.generator
        return await self._current.with_room_for(length)

    async def _guide(self, rules: Rules, prompt: int, so_far: list[int]) -> Guide | None:
        """Return what guides a text that begins with `so_far`, of which `prompt` tokens are given.

        Raises:
            TaskError: BAD_REQUEST if no answer that keeps to `rules` begins so.
        """
        if not rules:
            return None
        if rules.grammar is None:  # nothing to wait for others' grammars
            return Guide.after(rules, prompt, so_far)
        work = self._grammar_thread.submit(lambda: Guide.after(rules, prompt, so_far))
        guide = await asyncio.wrap_future(work)
        guide.check()
        return guide

    async def _seen(self, text: str, images: list[pb.Media]) -> Seen | None:
        if not images:
            return None
        if self._seeing is None:
            raise TaskError(pb.UNSUPPORTED, "the model cannot see images", "send text only")
        return await self._seeing.seen(text, images)

    def _prepare(
        self, task: pb.TextTask, text: str, seen: Seen | None
    ) -> tuple[list[int], Parameters]:
        if seen is not None:
            tokens = seen.tokens
        else:
            tokens = prompt.encode(self._tokenizer, task, text, self._context)
        wanted = parameters.resolve(
            task,
            self._model.generation_config,
            prompt_tokens=len(tokens),
            context=self._context,
        )
        return tokens, wanted


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text, as generation_config and the tokenizer name them."""
    named = model.generation_config.eos_token_id
    tokens = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(token for token in tokens if token is not None)
