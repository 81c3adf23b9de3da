"""Which models are in memory: loaded when a task needs them, gone when others need the room.

Every model that was asked for has a `ModelEntry`. Tasks hold a `Lease` on the
engine while they run.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import structlog

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import DeviceLost, ModelRefused
from daiic.worker.memory.model_entry import Lease, ModelEntry, Resident
from daiic.worker.memory.model_memory import Loader, Meter, ModelMemory
from daiic.worker.memory.model_source import Downloads, ModelSource
from daiic.worker.memory.model_table import ModelTable
from daiic.worker.memory.resource_errors import OUT_OF_MEMORY, does_not_fit
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.model import Model
from daiic.worker.sharding.plan import ALONE, Plan, same_machines

LEFT = "left memory after {:g} s without a task; the next one loads it again"

log = structlog.get_logger()


class ModelManager:
    """All models of one worker; `table` has those that were asked for."""

    def __init__(
        self,
        catalog: Catalog,
        meter: Meter,
        loader: Loader,
        downloads: Downloads | None,
        *,
        ram_offload: bool,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`downloads` is `None` where they are not allowed; `on_change` tells of new states."""
        self.on_device_lost: Callable[[Exception], None] = lambda error: None
        self.table = ModelTable(on_change)
        self.source = ModelSource(catalog, self.table, downloads)
        self.memory = ModelMemory(self.table, meter, loader, ram_offload=ram_offload)
        self._catalog = catalog
        self._loader = loader
        self._on_disk: dict[str, Model] = {}
        self._unusable: dict[str, str] = {}
        self._without_quantization: dict[str, str] = {}
        self._clock = 0

    # ----------------------------------------------------------------- status

    async def rescan(self) -> None:
        """Look at what is on the disk now."""
        found = {model.name: model for model in await in_thread(self._catalog.scan)}
        if found != self._on_disk or self._catalog.unusable != self._unusable:
            self._on_disk = found
            self._unusable = self._catalog.unusable
            self.table.tell()
        self._without_quantization = self._catalog.aliases

    def statuses(self) -> list[pb.ModelStatus]:
        """Return the state of every model that is on the disk, usable or not, or on its way."""
        on_disk = [
            pb.ModelStatus(
                name=model.name,
                kind=model.kind,
                state=pb.AVAILABLE,
                capabilities=sorted(model.capabilities),
                quantization=model.quantization,
                needs=model.needs,
                lead_needs=model.lead_needs,
                slices=model.slices,
                downloaded=model.downloaded,
            )
            for model in self._on_disk.values()
            if model.name not in self.table.entries
        ]
        unusable = [
            pb.ModelStatus(name=name, state=pb.FAILED, detail=reason)
            for name, reason in self._unusable.items()
            if name not in self.table.entries
        ]
        known = [*on_disk, *unusable, *(entry.status() for entry in self.table.entries.values())]
        return sorted([*known, *self._by_other_names(known)], key=lambda status: status.name)

    def _by_other_names(self, known: list[pb.ModelStatus]) -> Iterator[pb.ModelStatus]:
        """Yield the states of models once more under the other names that tasks may use.

        Heads send tasks by such a name to the workers that have it.
        """
        by_name = {status.name: status for status in known}
        for alias, name in (self._without_quantization | self.table.aliases).items():
            if name in by_name and alias not in by_name:
                status = pb.ModelStatus()
                status.CopyFrom(by_name[name])
                status.name, status.bytes = alias, 0  # whose memory is counted already
                yield status

    @property
    def busy(self) -> bool:
        """Whether a model is on its way into memory."""
        return any(entry.loading is not None for entry in self.table.entries.values())

    # ------------------------------------------------------------------ leases

    def lease_now(self, name: str, plan: Plan = ALONE) -> Lease | None:
        """Return a lease on the model `name` if it is loaded, else `None`.

        A `plan` matters only to a model that is held by other machines than those in it.
        """
        entry = self.table.get(name)
        resident = entry.resident if entry is not None else None
        if entry is None or resident is None or resident.leaving or not resident.engine.alive:
            return None
        if _elsewhere(resident, plan):
            return None
        self._clock += 1
        resident.last_used = self._clock
        resident.users += 1
        return Lease(entry, resident, self.table.tell)

    async def lease(self, name: str, plan: Plan = ALONE) -> Lease:
        """Load the model `name` if need be and return a lease on it.

        If this is cancelled the load goes on for the next task that needs it.

        Raises:
            TaskError: if it cannot be loaded.
        """
        while True:
            lease = self.lease_now(name, plan)
            if lease is not None:
                return lease
            entry = self.table.get(name)
            if entry is None:
                entry = self.table.entries[name] = ModelEntry(name, self._on_disk.get(name))
            if entry.refusal is not None:
                raise TaskError(entry.refusal.code, entry.refusal.message, entry.refusal.remedy)
            if entry.resident is not None and entry.resident.leaving:
                await self.table.change()
                continue
            if entry.resident is not None and entry.resident.engine.alive:
                await self._disband(entry, entry.resident)
                continue
            if entry.resident is not None:
                await self.died(entry, entry.resident)
            if entry.loading is None:
                if entry.plan != plan:
                    entry.plan, entry.footprint = plan, 0
                entry.loading = asyncio.create_task(self._bring(entry))
                entry.loading.add_done_callback(_retrieve)
            await asyncio.shield(entry.loading)

    async def _disband(self, entry: ModelEntry, resident: Resident) -> None:
        """Let a model that other machines hold go when its tasks have ended."""
        resident.leaving = True
        while resident.users and entry.resident is resident:
            await self.table.change()
        if entry.resident is resident:
            log.info("model unloaded for another group", model=entry.name)
            await self.table.unload(entry)

    def on_disk(self, name: str) -> Model | None:
        """Return the model `name`, if it is on the disk or in memory."""
        entry = self.table.get(name)
        return entry.model if entry is not None else self._on_disk.get(name)

    async def out_of_memory(self, lease: Lease) -> None:
        """Take the leased engine, on which memory ran out, away; the next one gets less."""
        entry, resident = lease.entry, lease.resident
        if entry.resident is not resident:
            return  # another task has said so
        entry.expect_more()
        entry.take_less()
        log.warning(
            "out of memory while serving; the model is loaded again with a smaller budget",
            model=entry.name,
            budget=f"{entry.headroom:.0%}",
        )
        await self.table.unload(entry)

    async def unload_dead(self) -> None:
        """Give back the memory of models whose engines have died; tasks load them again."""
        for entry in self.table.loaded():
            resident = entry.resident
            if resident is not None and not resident.engine.alive:
                await self.died(entry, resident)

    async def unload(self, name: str) -> None:
        """Let a model go, unless tasks run on it."""
        entry = self.table.get(name)
        resident = entry.resident if entry is not None else None
        if entry is None or resident is None or resident.users or resident.leaving:
            return
        log.info("model unloaded, as its head asks", model=entry.name)
        await self.table.unload(entry)

    async def unload_idle(self, after: float, keep: Collection[str]) -> None:
        """Let models go that had no task for `after` seconds, but not those named in `keep`."""
        kept = {self.table.aliases.get(name, name) for name in keep}
        for entry in self.table.loaded():
            resident = entry.resident
            if resident is None or resident.users or resident.leaving:
                continue
            if entry.pinned or entry.name in kept:
                continue
            if time.monotonic() - resident.idle_since >= after:
                log.info("idle model unloaded", model=entry.name, idle_unload=after)
                await self.table.unload(entry)
                if entry.state == pb.AVAILABLE:
                    self.table.set_state(entry, pb.AVAILABLE, detail=LEFT.format(after))

    async def died(self, entry: ModelEntry, resident: Resident) -> None:
        """Take away an engine that runs no more tasks."""
        if entry.resident is resident:  # else another task has said so
            log.error(
                "the model's engine is gone; it is loaded again when needed", model=entry.name
            )
            await self.table.unload(entry)

    async def refuse(self, lease: Lease, refusal: ModelRefused) -> None:
        """Remove the leased engine and never load its model again; later tasks are told why."""
        entry = lease.entry
        if entry.resident is not lease.resident:
            return  # another task has said so
        entry.refusal = refusal
        log.error("model refused", model=entry.name, reason=refusal.message)
        await self.table.unload(entry)
        self.table.set_state(entry, pb.FAILED, detail=refusal.message)
        self.table.forget_old_failures()

    async def forget(self, name: str) -> None:
        """Look for the model `name` on the disk again, where it may be gone."""
        self.table.entries.pop(name, None)
        await self.rescan()
        self.table.tell()

    async def close(self) -> None:
        """Give all models' memory back; a wedged engine may never do that."""
        for entry in self.table.entries.values():
            if entry.loading is not None:
                entry.loading.cancel()
            if entry.resident is not None:
                await self.table.unload(entry)

    # ----------------------------------------------------------------- loading

    async def _bring(self, entry: ModelEntry) -> None:
        try:
            found = await self.source.bring(entry)
            self._on_disk[found.name] = found
            model = entry.model = replace(found, plan=entry.plan)
            if model.name != entry.name and self.table.rename(entry, model.name):
                return
            if not entry.footprint:
                entry.footprint = await in_thread(lambda: self._loader.footprint(model))
            engine = await self.memory.load(entry, model)
            log.info(
                "model loaded",
                model=entry.name,
                quantization=engine.quantization,
                placement=engine.placement,
                bytes=engine.footprint,
            )
        except Exception as error:
            failure = self._failure(entry, error)
            if entry.model is not None:
                failure = await self.source.explained(failure, entry.model)
            if failure.code in (pb.MODEL_NOT_FOUND, pb.BAD_REQUEST):
                self.table.entries.pop(entry.name, None)
            self.table.set_state(entry, pb.FAILED, detail=failure.message)
            self.table.forget_old_failures()
            raise failure from None
        finally:
            entry.loading = None

    def _failure(self, entry: ModelEntry, error: Exception) -> TaskError:
        if isinstance(error, TaskError):
            log.warning("model not loaded", model=entry.name, reason=error.message, code=error.name)
            return error
        if isinstance(error, OUT_OF_MEMORY):
            return does_not_fit(entry.name)
        log.error("model not loaded", model=entry.name, exc_info=error)
        if isinstance(error, DeviceLost):
            self.on_device_lost(error)
        return TaskError(
            pb.INTERNAL,
            f"{entry.name} cannot be loaded: {type(error).__name__}: {error}",
            "the worker's log says where",
        )


def _elsewhere(resident: Resident, plan: Plan) -> bool:
    """Return whether a model is held by other machines than `plan` wants."""
    return bool(plan and resident.plan) and not same_machines(plan, resident.plan)


def _retrieve(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # its waiters have it; without waiters nobody misses it
