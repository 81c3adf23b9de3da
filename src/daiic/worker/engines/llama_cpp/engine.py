"""A GGUF model that a llama-server of its own runs: tasks in, parts of their answers out."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineRestarted
from daiic.worker.engines.llama_cpp.abilities import abilities
from daiic.worker.engines.llama_cpp.chat_request import template_in
from daiic.worker.engines.llama_cpp.constraint import has_llguidance
from daiic.worker.engines.llama_cpp.embedding import embed
from daiic.worker.engines.llama_cpp.pool import Pool
from daiic.worker.engines.llama_cpp.ranking import rank
from daiic.worker.engines.llama_cpp.rendering import NotRendered, Rendering
from daiic.worker.engines.llama_cpp.replaceable import Replaceable, Running, Start
from daiic.worker.engines.llama_cpp.server import Server
from daiic.worker.engines.llama_cpp.speculation import Speculation
from daiic.worker.engines.llama_cpp.text_tasks import TextTasks
from daiic.worker.engines.text.patience import patiently
from daiic.worker.limits import LIMITS
from daiic.worker.sharding.group import Group
from daiic.worker.standstill import Standstill

CONSTRAINT_PATIENCE = LIMITS.constraint_patience
PATIENCE_WITH_GROUP = MODEL_KINDS[pb.TEXT].stall_limit / 2
"""Seconds without a token, before the worker itself would be taken for hung."""
LOOK = 0.5

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
        start: Start | None = None,
    ) -> None:
        """`props` is what the server tells of its model, `adapters` are their names in its order.

        `chats` says whether the file has a template; without one the server makes one up.

        `on_guesses` is told how guesses fare after each answer, and `on_close` once when the
        child is gone, which holds `on_cards` bytes outside RAM. `group` holds parts of the
        model on other machines, as `shards` tells. `start` starts another server in its place.
        """
        self.model_kind = kind
        self.quantization = quantization
        self.placement = placement
        self.choice = choice
        self.fallback = ""
        self.speculation = speculation
        self.adapters = tuple(adapters)
        self._held = Replaceable(server, start, pool)
        self.cache_tokens = pool.tokens if kind == pb.TEXT else 0
        self._rendering = Rendering(self._not_rendered)
        self._group = group
        self.shards = shards
        self._watch = asyncio.create_task(self._look()) if group is not None else None
        settings = props.get("default_generation_settings") or {}
        # A build without unified caches gives each slot a part of its own.
        self._context = min(pool.context, settings.get("n_ctx") or pool.context)
        template = template_in(props)
        self._texts = TextTasks(
            template=template,
            defaults=settings.get("params") or {},
            context=self._context,
            vocabulary=vocabulary,
            adapters=list(adapters),
            llguidance=llguidance,
            rendering=self._rendering,
            count=self._count,
        )
        self._on_guesses = on_guesses
        self._on_cards = on_cards
        self._on_close = on_close
        self._running = 0
        self._standstill = Standstill()
        self.capabilities = abilities(kind, props, template, chats=chats, adapts=bool(adapters))

    @property
    def footprint(self) -> int:
        """Bytes that the child holds, on cards and in RAM."""
        return self._held.server.bytes + (self._on_cards if self.alive else 0)

    @property
    def stalled_for(self) -> float:
        """Seconds since the child last computed, or sent a part, while there is work.

        A long prompt is read for minutes before the first part.
        """
        if not self._running or self._held.coming:
            self._standstill.step()
            return 0.0
        return self._standstill.look(self._held.server.processor_seconds)

    @property
    def alive(self) -> bool:
        """Whether the child runs, or another comes in its place."""
        return self._held.alive

    async def _look(self) -> None:
        """End the child when another machine is lost: it might wait for that for ever."""
        assert self._group is not None
        while not (why := self._group.broken):
            if self.stalled_for > PATIENCE_WITH_GROUP:
                why = f"no member did anything for {PATIENCE_WITH_GROUP:g} s"
                break
            await asyncio.sleep(LOOK)
        self._held.server.kill(why)

    async def run(self, task: pb.Task) -> Parts:
        """Answer a text or an embed task."""
        if not self._running:
            self._standstill.step()
        self._running += 1
        try:
            self._rendering.check(task)
            running = await self._held.ready()
            try:
                async with contextlib.aclosing(self._parts(running, task)) as parts:
                    async for part in parts:
                        self._standstill.step()
                        yield part
            except NotRendered:
                raise
            except Exception as error:
                if self._held.is_gone(running):
                    raise EngineRestarted(str(error)) from None
                raise
        finally:
            self._running -= 1
            self._weigh_guesses()

    async def _parts(self, running: Running, task: pb.Task) -> Parts:
        if task.HasField("embed") and self.model_kind == pb.EMBEDDING:
            yield await embed(running.server, task.embed, self._context, self._texts.vocabulary)
            return
        if task.HasField("rerank") and self.model_kind == pb.RERANKING:
            yield await rank(running.server, task.rerank, self._context)
            return
        if not task.HasField("text") or self.model_kind != pb.TEXT:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} cannot do a task of the kind `{task.WhichOneof('work')}`",
                "choose another model",
            )
        request = await self._texts.request(running, task)
        patience = CONSTRAINT_PATIENCE if request.is_constrained else None
        async with running.seats.held(request.wanted) as seat:
            parts = patiently(request.parts_in(seat.slot), patience)
            async with contextlib.aclosing(parts) as heard:
                async for part in heard:
                    if part.final:
                        seat.tokens = part.usage.prompt_tokens + part.usage.completion_tokens
                    yield part

    def _count(self, timings: Mapping[str, Any]) -> None:
        if self.speculation is not None:
            self.speculation.count(timings)
            self._on_guesses(self.speculation)

    def _weigh_guesses(self) -> None:
        """Start the child again without guesses that do not pay: no request can turn them off."""
        guesses = self.speculation
        if guesses is not None and not guesses.pays and self._held.can_be_replaced:
            self.speculation = None
            self._held.replace("guessing ahead does not pay", guesses=False)

    def _not_rendered(self) -> None:
        self._held.replace("its chat template does not end", guesses=self.speculation is not None)

    async def close(self) -> None:
        """End the child."""
        if self._watch is not None:
            self._watch.cancel()
            # It may wait for a machine that is gone, and has nothing to say farewell for.
            self._held.server.kill("the group is given up")
        self._rendering.close()
        await self._held.close()
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
