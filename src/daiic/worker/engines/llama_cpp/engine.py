"""A GGUF model that a llama-server of its own runs: tasks in, parts of their answers out."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.work import MODEL_KINDS
from daiic.worker.engines.llama_cpp.chat import chat, chat_body, tokens_of
from daiic.worker.engines.llama_cpp.chat_request import Template, needs_chat, template_in
from daiic.worker.engines.llama_cpp.completion import complete, prompt_of
from daiic.worker.engines.llama_cpp.constraint import constraint_fields, has_llguidance
from daiic.worker.engines.llama_cpp.embedding import embed
from daiic.worker.engines.llama_cpp.leftovers import Leftovers
from daiic.worker.engines.llama_cpp.parameters import adapter_fields, parameter_fields
from daiic.worker.engines.llama_cpp.patience import patiently
from daiic.worker.engines.llama_cpp.pool import Pool
from daiic.worker.engines.llama_cpp.room import SharedCache
from daiic.worker.engines.llama_cpp.server import Server
from daiic.worker.engines.llama_cpp.speculation import Speculation
from daiic.worker.engines.text.checks import (
    DEFAULT_MAX_TOKENS,
    check_one_kind,
    check_resumed,
    room_for_answer,
)
from daiic.worker.engines.text.repetition import after
from daiic.worker.limits import LIMITS
from daiic.worker.sharding.group import Group
from daiic.worker.standstill import Standstill

CONSTRAINT_PATIENCE = LIMITS.constraint_patience
PATIENCE_WITH_GROUP = MODEL_KINDS[pb.TEXT].stall_limit / 2
"""Seconds without a token, before the worker itself would be taken for hung."""
LOOK = 0.5
PROBE = 16
"""Tokens of the cache that it takes to try a grammar, and more."""

Parts = AsyncGenerator[pb.Result, None]


class LlamaEngine:
    """An `Engine`; the child's death shows in `alive`."""

    library = "llama.cpp"
    precision = ""

    def __init__(
        self,
        server: Server,
        props: Mapping[str, Any],
        *,
        kind: pb.ModelKind,
        quantization: str,
        placement: str,
        choice: str,
        pool: Pool,
        vocabulary: int,
        chats: bool,
        adapters: Sequence[str],
        speculation: Speculation | None,
        llguidance: bool,
        on_guesses: Callable[[Speculation], None],
        group: Group | None = None,
        shards: Sequence[pb.Shard] = (),
        on_cards: int = 0,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """`props` is what the server tells of its model, `adapters` are their names in its order.

        `chats` says whether the file has a template; without one the server makes one up.

        `on_guesses` is told how guesses fare after each answer, and `on_close` once when the
        child is gone, which holds `on_cards` bytes outside RAM. `group` holds parts of the
        model on other machines, as `shards` tells.
        """
        self.model_kind = kind
        self.quantization = quantization
        self.placement = placement
        self.choice = choice
        self.fallback = ""
        self.speculation = speculation
        self._server = server
        self._group = group
        self.shards = shards
        self._watch = asyncio.create_task(self._look()) if group is not None else None
        self._template: Template = template_in(props)
        settings = props.get("default_generation_settings") or {}
        self._defaults: Mapping[str, Any] = settings.get("params") or {}
        # A build without unified caches gives each slot a part of its own.
        self._context = min(pool.context, settings.get("n_ctx") or pool.context)
        self._cache = SharedCache(pool.tokens, Leftovers(server))
        self._vocabulary = vocabulary
        self._adapters = list(adapters)
        self._llguidance = llguidance
        self._on_guesses = on_guesses
        self._on_cards = on_cards
        self._on_close = on_close
        self._running = 0
        self._standstill = Standstill()
        self.capabilities = self._abilities(props, chats)

    def _abilities(self, props: Mapping[str, Any], chats: bool) -> frozenset[pb.Capability]:
        if self.model_kind == pb.EMBEDDING:
            return frozenset({pb.EMBED})
        able = {pb.COMPLETE, pb.SAMPLING, pb.SCHEMA}
        if chats:
            able.add(pb.CHAT)
            if self._template.tools:
                able.add(pb.TOOLS)
            if (props.get("modalities") or {}).get("vision"):
                able.add(pb.SEE)
        if self._adapters:
            able.add(pb.ADAPTERS)
        return frozenset(able)

    @property
    def footprint(self) -> int:
        """Bytes that the child holds, on cards and in RAM."""
        return self._server.bytes + (self._on_cards if self.alive else 0)

    @property
    def stalled_for(self) -> float:
        """Seconds since the child last computed, or sent a part, while there is work.

        A long prompt is read for minutes before the first part.
        """
        if not self._running:
            return 0.0
        return self._standstill.look(self._server.processor_seconds)

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._server.alive

    async def _look(self) -> None:
        """End the child when another machine is lost: it might wait for that for ever."""
        assert self._group is not None
        while not (why := self._group.broken):
            if self.stalled_for > PATIENCE_WITH_GROUP:
                why = f"no member did anything for {PATIENCE_WITH_GROUP:g} s"
                break
            await asyncio.sleep(LOOK)
        self._server.kill(why)

    async def run(self, task: pb.Task) -> Parts:
        """Answer a text or an embed task."""
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
        if task.HasField("embed") and self.model_kind == pb.EMBEDDING:
            yield await embed(self._server, task.embed, self._context)
            return
        if not task.HasField("text") or self.model_kind != pb.TEXT:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} cannot do a task of the kind `{task.WhichOneof('work')}`",
                "choose another model",
            )
        tokens, parts, is_constrained = await self._request(task)
        patience = CONSTRAINT_PATIENCE if is_constrained else None
        async with (
            self._cache.held(tokens),
            contextlib.aclosing(patiently(parts, patience)) as heard,
        ):
            async for part in heard:
                yield part

    async def _request(self, task: pb.Task) -> tuple[int, Parts, bool]:
        """Return what answers `task`, for how much room, and whether a constraint binds it."""
        text = task.text
        check_one_kind(text)
        check_resumed(task.resume.tokens, self._vocabulary)
        constraint = await constraint_fields(
            text.constraint, self._probe, llguidance=self._llguidance
        )
        again = bool(constraint) and task.HasField("resume")
        asked = task
        if again:
            asked = pb.Task()
            asked.CopyFrom(task)
            asked.ClearField("resume")
        fields = {
            **parameter_fields(text, self._defaults, len(asked.resume.tokens)),
            **adapter_fields(task.adapters, self._adapters),
            **constraint,
        }
        tokens, parts = await self._answer(asked, fields)
        if again:
            delivered = pb.Resume()
            delivered.CopyFrom(task.resume)
            parts = after(delivered, parts)
        return tokens, parts, bool(constraint)

    async def _answer(self, task: pb.Task, fields: dict[str, Any]) -> tuple[int, Parts]:
        """Return what answers `task`, and the tokens of its prompt and the longest answer."""
        made = len(task.resume.tokens)
        wanted = task.text.max_tokens or DEFAULT_MAX_TOKENS
        if needs_chat(task.text, self._template):
            body = await chat_body(self._server, task, self._template, fields)
            length = max(await tokens_of(self._server, body) - made, 0)
            left = max(min(wanted, room_for_answer(length, self._context)) - made, 0)
            body["max_tokens"] = left
            parts = chat(self._server, task, body, length, self._count)
        else:
            prompt = await prompt_of(self._server, task.text)
            length = len(prompt)
            left = max(min(wanted, room_for_answer(length, self._context)) - made, 0)
            parts = complete(self._server, task, prompt, {**fields, "n_predict": left}, self._count)
        return min(length + made + left, self._context), parts

    def _count(self, timings: Mapping[str, Any]) -> None:
        if self.speculation is not None:
            self.speculation.count(timings)
            self._on_guesses(self.speculation)

    async def _probe(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        async with self._cache.held(PROBE):
            return await self._server.post("/completion", body)

    async def close(self) -> None:
        """End the child."""
        if self._watch is not None:
            self._watch.cancel()
            # It may wait for a machine that is gone, and has nothing to say farewell for.
            self._server.kill("the group is given up")
        self._cache.close()
        await self._server.close()
        told, self._on_close = self._on_close, lambda: None
        told()
        if self._group is not None:
            await self._group.close()


async def started(server: Server, **described: Any) -> LlamaEngine:
    """Return the engine of a `server` that has loaded its model; see `LlamaEngine`."""
    props = await server.get("/props")
    llguidance = False
    if described["kind"] == pb.TEXT:
        llguidance = await has_llguidance(lambda body: server.post("/completion", body))
    return LlamaEngine(server, props, llguidance=llguidance, **described)
