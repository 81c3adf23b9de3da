"""From a model on disk to the engine that runs it."""

import asyncio
import gc
import importlib
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

from daiic.background import in_thread
from daiic.worker.engines.copies import Copies
from daiic.worker.engines.interface import Engine, EngineEntry, EngineModule, LoadOptions
from daiic.worker.engines.registry import ENGINES, choose
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model
from daiic.worker.models.model_view import checked_view


class EngineLoader:
    """Loads models with the engines that accept them, as `options` say, which may be exchanged."""

    def __init__(self, options: LoadOptions, engines: Sequence[EngineEntry] = ENGINES) -> None:
        self.options = options
        self._engines = engines
        self._has_loaded = False
        self._one_at_a_time = asyncio.Lock()

    def footprint(self, model: Model) -> int:
        """Return the bytes that `model` will need; blocks, for seconds at first.

        Raises:
            TaskError: if no engine runs it, or its weights cannot be used.
        """
        return self._found_for(model)[1].footprint(model, replace(self.options, plan=model.plan))

    async def load(
        self, model: Model, budget: MemoryBudget, progress: Callable[[float], None]
    ) -> Engine:
        """Load `model` within `budget`; `progress` is called with 0 to 1 in the event loop.

        It goes to the card with the most room if that can hold it, and later to further cards as
        `Copies` says; else over all cards by layers.

        Raises:
            TaskError: if it cannot be loaded.
            EngineOutOfMemory, EngineDied, DeviceLost: as those say.
        """
        entry, module = await in_thread(lambda: self._found_for(model))
        options = replace(self.options, plan=model.plan, model=model)
        async with self._one_at_a_time:
            if budget.again is not None:  # another copy may have been loaded meanwhile
                budget = replace(budget.again(), again=budget.again)
            if not (options.backend.is_gpu or entry.without_torch):
                budget = budget.in_ram()
            if len(budget.cards) <= 1 or model.plan:
                return await self._load(model, module, options, budget, progress)
            card = budget.cards.index(max(budget.cards))
            needed = await in_thread(lambda: module.footprint(model, options))
            fits = needed <= budget.cards[card]
            if not fits and entry.over_cards:
                return await self._load(model, module, options, budget, progress)
            first = await self._load(
                model, module, _on(options, card), budget.on_card(card), progress
            )
        measure = budget.again
        if not fits or measure is None or first.placement != "gpu":
            return first

        async def another(cards: Collection[int]) -> tuple[int, Engine] | None:
            async with self._one_at_a_time:
                now = replace(measure(), again=measure)
                card = max(cards, key=now.cards.__getitem__)
                if needed > now.cards[card]:
                    return None
                alike = replace(_on(options, card), quantization=first.quantization)
                room = now.on_card(card)
                return card, await self._load(model, module, alike, room, lambda done: None)

        spare = set(range(len(budget.cards))) - {card}
        return Copies(model.name, first, card, spare, another)

    async def _load(
        self,
        model: Model,
        module: EngineModule,
        options: LoadOptions,
        budget: MemoryBudget,
        progress: Callable[[float], None],
    ) -> Engine:
        if not self._has_loaded:
            # Collections at every unload would stop the event loop for long, searching what
            # the libraries have made. Later there are models among it, which have to go.
            self._has_loaded = True
            gc.freeze()
        with ExitStack() as view:
            path = await in_thread(lambda: view.enter_context(checked_view(model)))
            return await module.load(path, options, budget, progress)

    def _found_for(self, model: Model) -> tuple[EngineEntry, EngineModule]:
        """Return what loads `model`; it brings a library, which is imported when first needed."""
        engine, _ = choose(model.path, model.name, self._engines)
        return engine, cast(EngineModule, importlib.import_module(engine.module))


def _on(options: LoadOptions, card: int) -> LoadOptions:
    return replace(options, backend=options.backend.on_card(card))
