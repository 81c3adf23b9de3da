"""From a model on disk to the engine that runs it."""

import gc
import importlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

from daiic.background import in_thread
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

    def footprint(self, model: Model) -> int:
        """Return the bytes that `model` will need; blocks, for seconds at first.

        Raises:
            TaskError: if no engine runs it, or its weights cannot be used.
        """
        return self._found_for(model)[1].footprint(model, self.options)

    async def load(
        self, model: Model, budget: MemoryBudget, progress: Callable[[float], None]
    ) -> Engine:
        """Load `model` within `budget`; `progress` is called with 0 to 1 in the event loop.

        It goes to the card with the most room if that can hold it, else over all cards by layers.

        Raises:
            TaskError: if it cannot be loaded.
            EngineOutOfMemory, EngineDied, DeviceLost: as those say.
        """
        engine, module = await in_thread(lambda: self._found_for(model))
        options = self.options
        if len(budget.cards) > 1:
            widest = budget.cards.index(max(budget.cards))
            needed = await in_thread(lambda: module.footprint(model, options))
            if needed <= budget.cards[widest] or not engine.over_cards:
                options = replace(options, backend=options.backend.on_card(widest))
                budget = budget.on_card(widest)
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
