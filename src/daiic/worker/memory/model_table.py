"""The models that a worker was asked for, and word of every change in them."""

import asyncio
import contextlib
from collections.abc import Callable

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Engine
from daiic.worker.limits import LIMITS
from daiic.worker.memory.model_entry import ModelEntry

MAX_ALIASES = LIMITS.aliases
REMEMBERED_FAILURES = LIMITS.failures


class ModelTable:
    """A `ModelEntry` for each model, by name."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called at every change."""
        self.entries: dict[str, ModelEntry] = {}
        self.aliases: dict[str, str] = {}
        """Other names that models were asked for by, and their own."""
        self.lent: Callable[[], int] = lambda: 0
        """Bytes that other workers' models hold here."""
        self._on_change = on_change
        self._changed = asyncio.Event()

    def get(self, name: str) -> ModelEntry | None:
        """Return the entry of the model that `name`, or another that was asked for, means."""
        return self.entries.get(self.aliases.get(name, name))

    def rename(self, entry: ModelEntry, name: str) -> bool:
        """Let `entry` have the model's own `name`, and the one that was asked for mean the same.

        If there is an entry of that name it stays instead, and this returns whether it was so.
        """
        self.aliases.pop(entry.name, None)
        self.aliases[entry.name] = name
        while len(self.aliases) > MAX_ALIASES:
            del self.aliases[next(iter(self.aliases))]
        del self.entries[entry.name]
        if name in self.entries:
            return True
        entry.name = name
        self.entries[name] = entry
        return False

    def loaded(self) -> list[ModelEntry]:
        """Return those that are in memory."""
        return [entry for entry in self.entries.values() if entry.resident is not None]

    def engines(self) -> list[Engine]:
        """Return the engines in memory."""
        return [r.resident.engine for r in [*self.entries.values()] if r.resident is not None]

    @property
    def held(self) -> int:
        """Bytes that all engines hold, and what is lent to others."""
        return sum(engine.footprint for engine in self.engines()) + self.lent()

    def tell(self) -> None:
        """Say that something has changed."""
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change()

    async def change(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()

    def set_state(self, entry: ModelEntry, state: pb.ModelState, detail: str = "") -> None:
        """Let `entry` be in another state from now on."""
        entry.state, entry.detail = state, detail
        entry.done = entry.total = 0
        self.tell()

    async def unload(self, entry: ModelEntry) -> None:
        """Give the memory of a model back; one that is not loaded stays as it is."""
        resident, entry.resident = entry.resident, None
        if resident is not None:
            self.set_state(entry, pb.AVAILABLE)
            with contextlib.suppress(Exception):
                await resident.engine.close()
            self.tell()

    def forget_old_failures(self) -> None:
        """Keep only the last entries of models that could not be loaded."""
        failed = [entry.name for entry in self.entries.values() if entry.state == pb.FAILED]
        for name in failed[:-REMEMBERED_FAILURES]:
            del self.entries[name]
