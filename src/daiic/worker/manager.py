"""Which models are in memory: loaded when a task needs them, gone when others need the room.

Every model that was asked for has a `Record`. Tasks hold a `Lease` on the
engine while they run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.catalog import Catalog, Model
from daiic.worker.engine import ModelRefused
from daiic.worker.record import Lease, Record
from daiic.worker.room import Load, Meter, Room
from daiic.worker.roster import Roster
from daiic.worker.shortage import does_not_fit, is_device_lost, is_out_of_memory

Expect = Callable[[Model], int]
Fetch = Callable[[str, Callable[[int, int], None]], Awaitable[Path]]

log = structlog.get_logger()


class ModelManager:
    """All models of one worker; `roster` has those that were asked for."""

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
        self.on_device_lost: Callable[[BaseException], None] = lambda error: None
        self.roster = Roster(on_change)
        self.room = Room(self.roster, meter, load, ram_offload=ram_offload)
        self._catalog = catalog
        self._expect = expect
        self._on_disk: dict[str, Model] = {}
        self._unusable: dict[str, str] = {}
        self._clock = 0

    # ----------------------------------------------------------------- status

    async def rescan(self) -> None:
        """Look at what is on the disk now."""
        found = {model.name: model for model in await in_thread(self._catalog.scan)}
        if found != self._on_disk or self._catalog.unusable != self._unusable:
            self._on_disk = found
            self._unusable = self._catalog.unusable
            self.roster.tell()

    def statuses(self) -> list[pb.ModelStatus]:
        """Return the state of every model that is on the disk, usable or not, or on its way."""
        on_disk = [
            pb.ModelStatus(name=model.name, kind=model.kind, state=pb.AVAILABLE)
            for model in self._on_disk.values()
            if model.name not in self.roster.records
        ]
        unusable = [
            pb.ModelStatus(name=name, state=pb.FAILED, detail=reason)
            for name, reason in self._unusable.items()
            if name not in self.roster.records
        ]
        return sorted(
            [*on_disk, *unusable, *(record.status() for record in self.roster.records.values())],
            key=lambda status: status.name,
        )

    @property
    def busy(self) -> bool:
        """Whether a model is on its way into memory."""
        return any(record.loading is not None for record in self.roster.records.values())

    # ------------------------------------------------------------------ leases

    def lease_now(self, name: str) -> Lease | None:
        """Return a lease on the model `name` if it is loaded, else `None`."""
        record = self.roster.records.get(name)
        resident = record.resident if record is not None else None
        if record is None or resident is None or resident.leaving:
            return None
        self._clock += 1
        resident.last_used = self._clock
        resident.users += 1
        return Lease(record, resident, self.roster.tell)

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
            record = self.roster.records.get(name)
            if record is None:
                record = self.roster.records[name] = Record(name, self._on_disk.get(name))
            if record.refusal is not None:
                raise TaskError(record.refusal.code, record.refusal.message, record.refusal.remedy)
            if record.resident is not None:  # leaving
                await self.roster.change()
                continue
            if record.loading is None:
                record.loading = asyncio.create_task(self._bring(record))
                record.loading.add_done_callback(_retrieve)
            await asyncio.shield(record.loading)

    def kind_on_disk(self, name: str) -> pb.ModelKind | None:
        """Return the kind of the model `name`, if it is on the disk or in memory."""
        record = self.roster.records.get(name)
        model = record.model if record is not None else self._on_disk.get(name)
        return model.kind if model is not None else None

    async def out_of_memory(self, lease: Lease) -> None:
        """Take the leased engine, on which memory ran out, away; the next one gets less."""
        record, resident = lease.record, lease.resident
        if record.resident is not resident:
            return  # another task has said so
        record.expect_more()
        record.take_less()
        log.warning(
            "out of memory while serving; the model is loaded again with a smaller budget",
            model=record.name,
            budget=f"{record.headroom:.0%}",
        )
        await self.roster.unload(record)

    async def refuse(self, lease: Lease, refusal: ModelRefused) -> None:
        """Take the leased engine away and load its model no more; who asks for it is told why."""
        record = lease.record
        if record.resident is not lease.resident:
            return  # another task has said so
        record.refusal = refusal
        log.error("model refused", model=record.name, reason=refusal.message)
        await self.roster.unload(record)
        self.roster.enter(record, pb.FAILED, detail=refusal.message)
        self.roster.forget_old_failures()

    async def close(self) -> None:
        """Give all models' memory back; a wedged engine may never do that."""
        for record in self.roster.records.values():
            if record.loading is not None:
                record.loading.cancel()
            if record.resident is not None:
                await self.roster.unload(record)

    # ----------------------------------------------------------------- loading

    async def _bring(self, record: Record) -> None:
        try:
            model = record.model = await self._on_this_machine(record)
            if not record.footprint:
                record.footprint = await in_thread(lambda: self._expect(model))
            engine = await self.room.load(record, model)
            log.info(
                "model loaded",
                model=record.name,
                quantization=engine.quantization,
                placement=engine.placement,
                bytes=engine.footprint,
            )
        except Exception as error:
            failure = self._failure(record, error)
            if failure.code in (pb.MODEL_NOT_FOUND, pb.BAD_REQUEST):
                self.roster.records.pop(record.name, None)
            self.roster.enter(record, pb.FAILED, detail=failure.message)
            self.roster.forget_old_failures()
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
        self.roster.enter(record, pb.DOWNLOADING)

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

    def _failure(self, record: Record, error: BaseException) -> TaskError:
        if isinstance(error, TaskError):
            log.warning(
                "model not loaded", model=record.name, reason=error.message, code=error.name
            )
            return error
        if is_out_of_memory(error):
            return does_not_fit(record.name)
        log.error("model not loaded", model=record.name, exc_info=error)
        if is_device_lost(error):
            self.on_device_lost(error)
        return TaskError(
            pb.INTERNAL,
            f"{record.name} cannot be loaded: {type(error).__name__}: {error}",
            "see the worker's log for where it failed",
        )


def _retrieve(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # its waiters have it; without waiters nobody misses it
