"""Which models are in memory: loaded when a task needs them, gone when others need the room.

Every model that was asked for has a `Record`. Tasks hold a `Lease` on the
engine while they run; the least recently used engine without a lease leaves
first, one with a lease never does. Loads go one after the other, because each
measures the memory that the one before has left.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import structlog

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.background import in_thread
from daiic.worker.catalog import Catalog, Model
from daiic.worker.engine import Engine
from daiic.worker.memory_budget import MemoryBudget
from daiic.worker.record import Lease, Record, Resident
from daiic.worker.shortage import is_device_lost, is_out_of_memory

LOWERED = 0.8
"""What remains of a model's budget each time that memory ran out on it."""
LOAD_ATTEMPTS = 4
HOPELESS = 2
"""Times all memory that a model may be expected to need and still make others leave."""
REMEMBERED_FAILURES = 16

Expect = Callable[[Model], int]
Load = Callable[[Model, MemoryBudget, Callable[[float], None]], Awaitable[Engine]]
Fetch = Callable[[str, Callable[[int, int], None]], Awaitable[Path]]

log = structlog.get_logger()


class Meter(Protocol):
    """What the manager asks about memory; see `daiic.worker.memory.MemoryMeter`."""

    @property
    def has_vram(self) -> bool:
        """Whether models go to a GPU's own memory first."""

    def budget(self, held: int) -> MemoryBudget:
        """Return what another model may take beside models that `held` so many bytes."""


class ModelManager:
    """All models of one worker."""

    def __init__(
        self,
        catalog: Catalog,
        meter: Meter,
        expect: Expect,
        load: Load,
        fetch: Fetch | None,
        *,
        ram_offload: bool,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`expect` tells the bytes that a model will need, from its files; it may block.

        `fetch` downloads, `None` where that is not allowed; `on_change` tells of new states.
        """
        self.fetch = fetch
        self.ram_offload = ram_offload
        self._catalog = catalog
        self._meter = meter
        self._expect = expect
        self._load = load
        self._on_change = on_change
        self.on_device_lost: Callable[[BaseException], None] = lambda error: None
        self._records: dict[str, Record] = {}
        self._on_disk: dict[str, Model] = {}
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._clock = 0

    # ----------------------------------------------------------------- status

    async def rescan(self) -> None:
        """Look at what is on the disk now."""
        found = {model.name: model for model in await in_thread(self._catalog.scan)}
        if found != self._on_disk:
            self._on_disk = found
            self._on_change()

    def statuses(self) -> list[pb.ModelStatus]:
        """Return the state of every model that is on the disk, in memory or on its way."""
        on_disk = [
            pb.ModelStatus(name=model.name, kind=model.kind, state=pb.AVAILABLE)
            for model in self._on_disk.values()
            if model.name not in self._records
        ]
        return sorted(
            [*on_disk, *(record.status() for record in self._records.values())],
            key=lambda status: status.name,
        )

    def record(self, name: str) -> Record | None:
        """Return the record of a model that was asked for."""
        return self._records.get(name)

    @property
    def busy(self) -> bool:
        """Whether a model is on its way into memory."""
        return any(record.loading is not None for record in self._records.values())

    @property
    def held(self) -> int:
        """Bytes that all loaded models hold."""
        return sum(resident.engine.footprint for resident in self._residents())

    def engines(self) -> list[Engine]:
        """Return the engines in memory."""
        return [resident.engine for resident in self._residents()]

    def _residents(self) -> list[Resident]:
        return [r.resident for r in self._records.values() if r.resident is not None]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change()

    # ------------------------------------------------------------------ leases

    def lease_now(self, name: str) -> Lease | None:
        """Return a lease on the model `name` if it is loaded, else `None`."""
        record = self._records.get(name)
        resident = record.resident if record is not None else None
        if record is None or resident is None or resident.leaving:
            return None
        self._clock += 1
        resident.last_used = self._clock
        resident.users += 1
        return Lease(record, resident, self._tell)

    async def lease(self, name: str) -> Lease:
        """Load the model `name` if need be and return a lease on it.

        If this is cancelled the load goes on for whoever comes next.

        Raises:
            TaskError: if it cannot be loaded.
        """
        while True:
            lease = self.lease_now(name)
            if lease is not None:
                return lease
            record = self._records.get(name)
            if record is None:
                record = self._records[name] = Record(name, self._on_disk.get(name))
            if record.resident is not None:  # leaving
                await self._changed.wait()
                continue
            if record.loading is None:
                record.loading = asyncio.create_task(self._bring(record))
                record.loading.add_done_callback(_retrieve)
            await asyncio.shield(record.loading)

    def kind_on_disk(self, name: str) -> pb.ModelKind | None:
        """Return the kind of the model `name`, if it is on the disk or in memory."""
        record = self._records.get(name)
        model = record.model if record is not None else self._on_disk.get(name)
        return model.kind if model is not None else None

    async def out_of_memory(self, lease: Lease) -> None:
        """Take the leased engine, on which memory ran out, away; the next one gets less."""
        record, resident = lease.record, lease.resident
        if record.resident is not resident:
            return  # another task has said so
        record.headroom *= LOWERED
        record.footprint = int(record.footprint / LOWERED)
        log.warning(
            "out of memory while serving; the model is loaded again with a smaller budget",
            model=record.name,
            budget=f"{record.headroom:.0%}",
        )
        await self._unload(record)

    async def close(self) -> None:
        """Give all models' memory back; a wedged engine may never do that."""
        for record in self._records.values():
            if record.loading is not None:
                record.loading.cancel()
            if record.resident is not None:
                await self._unload(record)

    # ----------------------------------------------------------------- loading

    async def _bring(self, record: Record) -> None:
        try:
            model = record.model = await self._on_this_machine(record)
            if not record.footprint:
                record.footprint = await in_thread(lambda: self._expect(model))
            async with self._loading:
                record.resident = Resident(await self._engine(record, model))
            self._set(record, pb.LOADED, detail=record.resident.engine.fallback)
            log.info(
                "model loaded",
                model=record.name,
                quantization=record.resident.engine.quantization,
                placement=record.resident.engine.placement,
                bytes=record.resident.engine.footprint,
            )
        except Exception as error:
            failure = self._failure(record, error)
            if failure.code in (pb.MODEL_NOT_FOUND, pb.BAD_REQUEST):
                self._records.pop(record.name, None)
            self._set(record, pb.FAILED, detail=failure.message)
            self._forget_old_failures()
            raise failure from None
        finally:
            record.loading = None

    async def _on_this_machine(self, record: Record) -> Model:
        name = record.name
        model = await in_thread(lambda: self._catalog.find(name))
        model = model or await in_thread(lambda: self._catalog.downloaded(name))
        if model is not None:
            return model
        if self.fetch is None:
            raise TaskError(
                pb.MODEL_NOT_FOUND,
                f"{name} is not on this worker's disk, and it may not download models",
                "set allow_downloads = true, or put the model into the models folder",
            )
        log.info("downloading", model=name)
        self._set(record, pb.DOWNLOADING)

        def progress(here: int, total: int) -> None:
            record.advance(pb.DOWNLOADING, here, total)

        await self.fetch(name, progress)
        model = await in_thread(lambda: self._catalog.downloaded(name))
        if model is None:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{name} was downloaded, but is not a model that workers can run",
                "choose a repository in the format of transformers or diffusers",
            )
        self._on_disk[name] = model
        return model

    async def _engine(self, record: Record, model: Model) -> Engine:
        for _ in range(LOAD_ATTEMPTS):
            await self._make_room(record)
            self._set(record, pb.LOADING)
            budget = self._meter.budget(self.held)
            lowered = MemoryBudget(
                int(budget.vram_bytes * record.headroom), int(budget.ram_bytes * record.headroom)
            )
            log.info("loading", model=record.name, kind=pb.ModelKind.Name(model.kind).lower())
            try:
                return await self._load(
                    model, lowered, lambda done: record.advance(pb.LOADING, int(done * 1000), 1000)
                )
            except TaskError as error:
                if error.code != pb.OUT_OF_MEMORY or not self._residents():
                    raise
                # The budget was too small: the estimate was, so let others make more room.
                record.footprint = int(record.footprint / LOWERED)
                await self._evict_one()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                record.headroom *= LOWERED
                record.footprint = int(record.footprint / LOWERED)
                log.warning("out of memory while loading", model=record.name)
                if self._residents():
                    await self._evict_one()
        raise out_of_memory(record.name)

    async def _make_room(self, record: Record) -> None:
        """Let other models go until `record` should fit, or none is left."""
        while self._residents():
            budget = self._meter.budget(self.held)
            first = budget.vram_bytes if self._meter.has_vram else budget.ram_bytes
            if record.footprint <= first:
                return
            spills = self._meter.has_vram and self.ram_offload
            room = budget.vram_bytes + budget.ram_bytes if spills else first
            if record.footprint > HOPELESS * (room + self.held):
                raise out_of_memory(record.name)
            if record.footprint <= room and all(one.users for one in self._residents()):
                return
            await self._evict_one()

    async def _evict_one(self) -> None:
        """Let the least recently used model go, one in use after it has ended its tasks."""
        loaded = [record for record in self._records.values() if record.resident is not None]

        def order(record: Record) -> tuple[bool, int]:
            assert record.resident is not None
            return record.resident.users > 0, record.resident.last_used

        record = min(loaded, key=order)
        resident = record.resident
        assert resident is not None
        resident.leaving = True
        while resident.users and record.resident is resident:
            await self._changed.wait()
        if record.resident is resident:
            log.info("model leaves to make room", model=record.name)
            await self._unload(record)

    async def _unload(self, record: Record) -> None:
        resident, record.resident = record.resident, None
        if resident is not None:
            self._set(record, pb.AVAILABLE)
            with contextlib.suppress(Exception):
                await resident.engine.close()
            self._tell()

    # ------------------------------------------------------------------ states

    def _set(self, record: Record, state: pb.ModelState, detail: str = "") -> None:
        record.state, record.detail = state, detail
        record.done = record.total = 0
        self._tell()

    def _failure(self, record: Record, error: BaseException) -> TaskError:
        if isinstance(error, TaskError):
            log.warning(
                "model not loaded", model=record.name, reason=error.message, code=error.name
            )
            return error
        if is_out_of_memory(error):
            return out_of_memory(record.name)
        log.error("model not loaded", model=record.name, exc_info=error)
        if is_device_lost(error):
            self.on_device_lost(error)
        return TaskError(
            pb.INTERNAL,
            f"{record.name} cannot be loaded: {type(error).__name__}: {error}",
            "see the worker's log for where it failed",
        )

    def _forget_old_failures(self) -> None:
        failed = [record.name for record in self._records.values() if record.state == pb.FAILED]
        for name in failed[:-REMEMBERED_FAILURES]:
            del self._records[name]


def out_of_memory(name: str) -> TaskError:
    """Return that `name` does not fit, however small its budget."""
    return TaskError(
        pb.OUT_OF_MEMORY,
        f"{name} does not fit into this worker's memory",
        'use a smaller model, quantization = "4bit", ram_offload = true, or raise vram_limit and '
        "ram_limit if they are set",
    )


def _retrieve(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # its waiters have it; without waiters nobody misses it
