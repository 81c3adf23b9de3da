"""The models that a worker was asked for, and word of every change in them."""

import asyncio
import contextlib
from collections.abc import Callable

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engine import Engine
from daiic.worker.limits import LIMITS
from daiic.worker.record import Record

REMEMBERED_FAILURES = LIMITS.failures


class Roster:
    """A `Record` for each model, by name."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called at every change."""
        self.records: dict[str, Record] = {}
        self._on_change = on_change
        self._changed = asyncio.Event()

    def loaded(self) -> list[Record]:
        """Return those that are in memory."""
        return [record for record in self.records.values() if record.resident is not None]

    def engines(self) -> list[Engine]:
        """Return the engines in memory."""
        return [r.resident.engine for r in self.records.values() if r.resident is not None]

    @property
    def held(self) -> int:
        """Bytes that all engines hold."""
        return sum(engine.footprint for engine in self.engines())

    def tell(self) -> None:
        """Say that something has changed."""
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change()

    async def change(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()

    def enter(self, record: Record, state: pb.ModelState, detail: str = "") -> None:
        """Let `record` be in another state from now on."""
        record.state, record.detail = state, detail
        record.done = record.total = 0
        self.tell()

    async def unload(self, record: Record) -> None:
        """Give the memory of a model back; one that is not loaded stays as it is."""
        resident, record.resident = record.resident, None
        if resident is not None:
            self.enter(record, pb.AVAILABLE)
            with contextlib.suppress(Exception):
                await resident.engine.close()
            self.tell()

    def forget_old_failures(self) -> None:
        """Keep only the last records of models that could not be loaded."""
        failed = [record.name for record in self.records.values() if record.state == pb.FAILED]
        for name in failed[:-REMEMBERED_FAILURES]:
            del self.records[name]
