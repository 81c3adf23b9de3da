"""A language model that a vLLM of its own runs: tasks in, parts of their answers out."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from transformers import GenerationConfig

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.text.checks import check_prompt_tokens, check_resumed
from daiic.worker.engines.text.patience import patiently
from daiic.worker.engines.text.repetition import after
from daiic.worker.engines.transformers_text import parameters, prompt
from daiic.worker.engines.transformers_text.chat_template import ChatTemplate
from daiic.worker.engines.transformers_text.parameters import Parameters
from daiic.worker.engines.transformers_text.token_bytes import TokenBytes
from daiic.worker.engines.transformers_text.transcript import Transcript
from daiic.worker.engines.vllm.answer import complete
from daiic.worker.engines.vllm.probe import TEXT
from daiic.worker.engines.vllm.request import begins_with_the_answer, request_fields
from daiic.worker.engines.vllm.server import Server
from daiic.worker.limits import LIMITS
from daiic.worker.standstill import Standstill

CONSTRAINT_PATIENCE = LIMITS.constraint_patience

Parts = AsyncGenerator[pb.Result, None]


class VllmEngine:
    """An `Engine`; the end of vLLM shows in `alive`."""

    library = "vLLM"
    model_kind = pb.TEXT

    def __init__(
        self,
        server: Server,
        tokenizer: Any,
        template: ChatTemplate | None,
        defaults: GenerationConfig,
        *,
        quantization: str,
        precision: str,
        choice: str,
        fallback: str,
        context: int,
        vocabulary: int,
        cache_tokens: int = 0,
        on_cards: int = 0,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """A text has at most `context` tokens of the `vocabulary`'s, all texts `cache_tokens`.

        vLLM holds `on_cards` bytes outside RAM; `on_close` is told once when it is gone.
        """
        self.quantization = quantization
        self.precision = precision
        self.placement = "gpu" if on_cards else "ram"
        self.choice = choice
        self.fallback = fallback
        self.capabilities = TEXT | ({pb.CHAT} if template is not None else set())
        self._server = server
        self._tokenizer = tokenizer
        self._token_bytes = TokenBytes(tokenizer)
        self._template = template
        self._defaults = defaults
        self._context = context
        self._vocabulary = vocabulary
        self.cache_tokens = cache_tokens
        self._on_cards = on_cards
        self._on_close = on_close
        self._thread = OneThread("tokens")
        self._end_tokens = _end_tokens(defaults, tokenizer)
        self._running = 0
        self._standstill = Standstill()

    @property
    def footprint(self) -> int:
        """Bytes that vLLM holds, on cards and in RAM."""
        return self._server.bytes + (self._on_cards if self.alive else 0)

    @property
    def stalled_for(self) -> float:
        """Seconds since a part came, or since a CPU computed, while there is work.

        Waiting for a card takes processor time too, so that it says nothing there.
        """
        if not self._running:
            return 0.0
        return self._standstill.look(0.0 if self._on_cards else self._server.processor_seconds)

    @property
    def alive(self) -> bool:
        """Whether vLLM runs."""
        return self._server.alive

    async def run(self, task: pb.Task) -> Parts:
        """Answer a text task."""
        if not self._running:
            self._standstill.step()
        self._running += 1
        try:
            async with contextlib.aclosing(self._parts(task)) as parts:
                async for part in parts:
                    self._standstill.step()
                    yield part
        finally:
            self._running -= 1

    async def _parts(self, task: pb.Task) -> Parts:
        if not task.HasField("text"):
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} cannot do a task of the kind `{task.WhichOneof('work')}`",
                "choose another model",
            )
        check_resumed(task.resume.tokens, self._vocabulary)
        check_prompt_tokens(task.text.prompt_tokens, self._vocabulary)
        text = await prompt.text_of(self._template, task.text)
        # A hostile tokenizer may take for ever: it must not hold threads that others share.
        tokens, wanted = await asyncio.wrap_future(
            self._thread.submit(lambda: self._prepare(task.text, text))
        )
        fields = request_fields(task.text, wanted, self._end_tokens)
        if begins_with_the_answer(fields) and task.HasField("resume"):
            delivered = pb.Resume()
            delivered.CopyFrom(task.resume)
            parts = after(delivered, self._answer(tokens, pb.Resume(), wanted, fields))
        else:
            parts = self._answer(tokens, task.resume, wanted, fields)
        patience = CONSTRAINT_PATIENCE if "structured_outputs" in fields else None
        async with contextlib.aclosing(patiently(parts, patience)) as patient:
            async for part in patient:
                yield part

    def _answer(
        self, tokens: list[int], delivered: pb.Resume, wanted: Parameters, fields: dict[str, Any]
    ) -> Parts:
        transcript = Transcript(
            self._tokenizer.backend_tokenizer,
            stop=wanted.stop,
            end_tokens=self._end_tokens,
            max_tokens=wanted.max_tokens,
        )
        return complete(
            self._server,
            tokens,
            delivered,
            transcript,
            fields,
            wanted.max_tokens,
            self._token_bytes,
        )

    def _prepare(self, task: pb.TextTask, text: str) -> tuple[list[int], Parameters]:
        tokens = prompt.encode(self._tokenizer, task, text, self._context)
        wanted = parameters.resolve(
            task, self._defaults, prompt_tokens=len(tokens), context=self._context
        )
        return tokens, wanted

    async def close(self) -> None:
        """End vLLM."""
        if self._template is not None:
            self._template.close()
        self._thread.stop()
        await self._server.close()
        told, self._on_close = self._on_close, lambda: None
        told()


def _end_tokens(defaults: GenerationConfig, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text, as generation_config and the tokenizer name them."""
    named = defaults.eos_token_id
    tokens = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(token for token in tokens if token is not None)
