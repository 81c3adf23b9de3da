"""Room for one more model: who leaves for it, how much it gets, and what if that was too little.

The least recently used engine without a lease leaves first, one with a lease
after its tasks. Loads go one after the other, because each measures the memory
that the one before has left.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import structlog

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.catalog import Model
from daiic.worker.engine import Engine
from daiic.worker.memory_budget import MemoryBudget
from daiic.worker.record import Record, Resident
from daiic.worker.roster import Roster
from daiic.worker.shortage import does_not_fit, is_out_of_memory

LOAD_ATTEMPTS = 4
HOPELESS = 2
"""Times all memory that a model may be expected to need and still make others leave."""

Load = Callable[[Model, MemoryBudget, Callable[[float], None]], Awaitable[Engine]]

log = structlog.get_logger()


class Meter(Protocol):
    """What is asked about memory; see `daiic.worker.memory.MemoryMeter`."""

    @property
    def has_vram(self) -> bool:
        """Whether models go to a GPU's own memory first."""

    def budget(self, held: int) -> MemoryBudget:
        """Return what another model may take beside models that `held` so many bytes."""


class Room:
    """The memory that the models of a `Roster` share."""

    def __init__(self, roster: Roster, meter: Meter, load: Load, *, ram_offload: bool) -> None:
        """`ram_offload`: whether what does not fit a GPU may lie in RAM."""
        self.ram_offload = ram_offload
        self._roster = roster
        self._meter = meter
        self._load = load
        self._loading = asyncio.Lock()

    async def load(self, record: Record, model: Model) -> Engine:
        """Load `model` for `record`, and make others leave for it as need be.

        Raises:
            TaskError: OUT_OF_MEMORY if it does not fit; else as `load` does.
        """
        async with self._loading:
            for _ in range(LOAD_ATTEMPTS):
                await self._make_for(record)
                self._roster.enter(record, pb.LOADING)
                log.info("loading", model=record.name, kind=pb.ModelKind.Name(model.kind).lower())
                try:
                    engine = await self._load(
                        model,
                        self._budget(record),
                        lambda done: record.advance(pb.LOADING, int(done * 1000), 1000),
                    )
                except TaskError as error:
                    if error.code != pb.OUT_OF_MEMORY or not self._roster.loaded():
                        raise
                    # The budget was too small: the estimate was, so let others make more room.
                    record.expect_more()
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    log.warning("out of memory while loading", model=record.name)
                    record.expect_more()
                    record.take_less()
                else:
                    record.resident = Resident(engine)
                    self._roster.enter(record, pb.LOADED, detail=engine.fallback)
                    return engine
                if self._roster.loaded():
                    await self._evict_one()
        raise does_not_fit(record.name)

    def _budget(self, record: Record) -> MemoryBudget:
        def measured() -> MemoryBudget:
            return record.share_of(self._meter.budget(self._roster.held))

        return replace(measured(), again=measured)

    async def _make_for(self, record: Record) -> None:
        """Let other models go until `record` should fit, or none is left."""
        while loaded := self._roster.loaded():
            held = self._roster.held
            budget = self._meter.budget(held)
            first = budget.vram_bytes if self._meter.has_vram else budget.ram_bytes
            if record.footprint <= first:
                return
            spills = self._meter.has_vram and self.ram_offload
            room = budget.vram_bytes + budget.ram_bytes if spills else first
            if record.footprint > HOPELESS * (room + held):
                raise does_not_fit(record.name)
            if record.footprint <= room and all(one.in_use for one in loaded):
                return
            await self._evict_one()

    async def _evict_one(self) -> None:
        """Let the least recently used model go, one in use after it has ended its tasks."""
        record = min(self._roster.loaded(), key=_order)
        resident = record.resident
        assert resident is not None
        resident.leaving = True
        while resident.users and record.resident is resident:
            await self._roster.change()
        if record.resident is resident:
            log.info("model leaves to make room", model=record.name)
            await self._roster.unload(record)


def _order(record: Record) -> tuple[bool, int]:
    assert record.resident is not None
    return record.in_use, record.resident.last_used
