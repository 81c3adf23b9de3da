"""Memory for one more model: which leave for it, what it gets, and what if that was too little.

The least recently used engine without a lease leaves first, one with a lease
after its tasks. Loads go one after the other, because each measures the memory
that the one before has left.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.copies import Copies
from daiic.worker.engines.interface import Engine
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.memory.model_entry import ModelEntry, Resident
from daiic.worker.memory.model_table import ModelTable
from daiic.worker.memory.resource_errors import OUT_OF_MEMORY, does_not_fit
from daiic.worker.models.digests import digests_of
from daiic.worker.models.model import Model

LOAD_ATTEMPTS = 4
HOPELESS = 2
"""Times all memory that a model may be expected to need and still make others leave."""

log = structlog.get_logger()


class Meter(Protocol):
    """What is asked about memory; see `daiic.worker.memory.meter.MemoryMeter`."""

    @property
    def has_vram(self) -> bool:
        """Whether models go to a GPU's own memory first."""

    def budget(self, held: int) -> MemoryBudget:
        """Return what another model may take beside models that `held` so many bytes."""


class Loader(Protocol):
    """What loads models; see `daiic.worker.engines.loading.EngineLoader`."""

    def footprint(self, model: Model) -> int:
        """Return the bytes that `model` will need; may block."""

    async def load(
        self, model: Model, budget: MemoryBudget, progress: Callable[[float], None]
    ) -> Engine:
        """Load `model` within `budget`."""


class ModelMemory:
    """The memory that the models of a `ModelTable` share."""

    def __init__(
        self, table: ModelTable, meter: Meter, loader: Loader, *, ram_offload: bool
    ) -> None:
        """`ram_offload`: whether what does not fit a GPU may lie in RAM."""
        self.ram_offload = ram_offload
        self._table = table
        self._meter = meter
        self._loader = loader
        self._loading = asyncio.Lock()

    async def load(self, entry: ModelEntry, model: Model) -> Engine:
        """Load `model` for `entry`, and make others leave for it as need be.

        Raises:
            TaskError: OUT_OF_MEMORY if it does not fit; else as `load` does.
        """
        async with self._loading:
            digests = asyncio.ensure_future(in_thread(lambda: digests_of(model)))
            for _ in range(LOAD_ATTEMPTS):
                await self._make_for(entry)
                self._table.set_state(entry, pb.LOADING)
                log.info("loading", model=entry.name, kind=pb.ModelKind.Name(model.kind).lower())
                try:
                    engine = await self._loader.load(
                        model,
                        self._budget(entry),
                        lambda done: entry.advance(pb.LOADING, int(done * 1000), 1000),
                    )
                except TaskError as error:
                    if error.code != pb.OUT_OF_MEMORY or not self._movable():
                        raise
                    # The budget was too small: the estimate was, so let others make more room.
                    entry.expect_more()
                except OUT_OF_MEMORY as error:
                    log.warning(
                        "out of memory while loading", model=entry.name, reason=str(error)[:300]
                    )
                    entry.expect_more()
                    entry.take_less()
                else:
                    entry.resident = Resident(engine, await digests, plan=model.plan)
                    self._table.set_state(entry, pb.LOADED, detail=engine.fallback)
                    return engine
                if self._movable():
                    await self._evict_one()
        raise does_not_fit(entry.name)

    def _budget(self, entry: ModelEntry) -> MemoryBudget:
        def measured() -> MemoryBudget:
            return entry.share_of(self._meter.budget(self._table.held))

        return replace(measured(), again=measured)

    async def _make_for(self, entry: ModelEntry) -> None:
        """Let other models go until `entry` should fit, or none is left that is not pinned."""
        while loaded := self._movable():
            held = self._table.held
            budget = self._meter.budget(held)
            first = budget.vram_bytes if self._meter.has_vram else budget.ram_bytes
            fits = entry.footprint <= max(budget.cards, default=first)
            if fits or (entry.footprint <= first and not self._further_copies()):
                return
            spills = self._meter.has_vram and self.ram_offload
            room = budget.vram_bytes + budget.ram_bytes if spills else first
            if entry.footprint > HOPELESS * (room + held):
                raise does_not_fit(entry.name)
            in_use = all(one.in_use for one in loaded) and not self._further_copies()
            if entry.footprint <= room and in_use:
                return
            await self._evict_one()

    async def _evict_one(self) -> None:
        """Let the least recently used model go, one in use after it has ended its tasks.

        A further copy of a model goes before any model does.
        """
        for engine in self._further_copies():
            if await engine.shrink():
                return
        entry = min(self._movable(), key=_order)
        resident = entry.resident
        assert resident is not None
        resident.leaving = True
        while resident.users and entry.resident is resident:
            await self._table.change()
        if entry.resident is resident:
            log.info("model unloaded to free memory", model=entry.name)
            await self._table.unload(entry)

    def _movable(self) -> list[ModelEntry]:
        """Return those in memory that may be let go."""
        return [entry for entry in self._table.loaded() if not entry.pinned]

    def _further_copies(self) -> list[Copies]:
        """Return the engines that have copies on more cards than one, the least used first."""
        residents = (entry.resident for entry in sorted(self._table.loaded(), key=_order))
        engines = (resident.engine for resident in residents if resident is not None)
        return [engine for engine in engines if isinstance(engine, Copies) and engine.many]


def _order(entry: ModelEntry) -> tuple[bool, int]:
    assert entry.resident is not None
    return entry.in_use, entry.resident.last_used
