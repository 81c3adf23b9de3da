"""What a worker knows of one model that was asked for."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import (
    Adaptable,
    Engine,
    GuessesAhead,
    HasVoices,
    HeldByMany,
    KeepsPrompts,
    ModelRefused,
)
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.digests import Digests
from daiic.worker.models.model import Model
from daiic.worker.sharding.plan import ALONE, Plan

LOWERED = 0.8
"""What remains of a model's share of memory each time that memory ran out on it."""
RATE_WEIGHT = 0.3
"""Share of the newest measurement in a model's rate."""
RATE_WEIGHT_ALONE = 0.6
"""The same for a task that had the worker to itself: heads reckon with the rate of one alone."""


@dataclass(slots=True, eq=False)
class Resident:
    """An engine in memory; `leaving` ones take no more tasks.

    `idle_since` is when the last task ended, or else when it was loaded.
    """

    engine: Engine
    digests: Digests
    users: int = 0
    last_used: int = 0
    leaving: bool = False
    plan: Plan = ALONE
    idle_since: float = field(default_factory=time.monotonic)

    def identity(self, adapters: Iterable[pb.Adapter] = ()) -> pb.ModelIdentity:
        """Return what tells this model from others, as it is loaded, with these `adapters`."""
        return pb.ModelIdentity(
            weights=self.digests.with_adapters(adapters),
            tokenizer=self.digests.tokenizer,
            quantization=self.engine.quantization,
            precision=self.engine.precision,
        )


@dataclass(slots=True, eq=False)
class ModelEntry:
    """One model.

    `headroom` is the share of the measured budget that it gets, less after
    each time that memory ran out. `footprint` is in bytes, what it is expected
    to need; `size` is what a model that is not here yet would need alone, and of that where it
    is led from, if known; `done` of `total` tells how far a download or load is; `rate` is
    in tokens or images a second of one task. After a `refusal` it is not loaded. While it is
    `pinned`, it leaves memory only if it fails.
    """

    name: str
    model: Model | None = None
    state: pb.ModelState = pb.AVAILABLE
    detail: str = ""
    done: int = 0
    total: int = 0
    resident: Resident | None = None
    loading: "asyncio.Task[None] | None" = None
    headroom: float = 1.0
    footprint: int = 0
    size: tuple[int, int] = (0, 0)
    rate: float = 0.0
    refusal: ModelRefused | None = None
    plan: Plan = ALONE
    pinned: bool = False

    @property
    def in_use(self) -> bool:
        """Whether tasks hold leases on it."""
        return self.resident is not None and self.resident.users > 0

    @property
    def capabilities(self) -> frozenset[pb.Capability]:
        """What tasks may ask of it; nothing while that is not known."""
        if self.resident is not None:
            return self.resident.engine.capabilities
        return self.model.capabilities if self.model is not None else frozenset()

    @property
    def adapters(self) -> Sequence[str]:
        """What tasks may call the adapters that it has, or will have once it is loaded."""
        if self.resident is not None:
            engine = self.resident.engine
            return engine.adapters if isinstance(engine, Adaptable) else ()
        return self.model.adapters if self.model is not None else ()

    def share_of(self, budget: MemoryBudget) -> MemoryBudget:
        """Return what it may take of `budget`."""
        return MemoryBudget(
            int(budget.vram_bytes * self.headroom),
            int(budget.ram_bytes * self.headroom),
            cards=tuple(int(card * self.headroom) for card in budget.cards),
        )

    def take_less(self) -> None:
        """Note that memory ran out on it."""
        self.headroom *= LOWERED

    def expect_more(self) -> None:
        """Note that it needs more than was expected."""
        self.footprint = int(self.footprint / LOWERED)

    def advance(self, state: pb.ModelState, done: int, total: int) -> None:
        """Record how far it is, unless it is past `state`."""
        if self.state == state:
            self.done, self.total = done, total

    def measured(self, rate: float, alone: bool) -> None:
        """Record the rate of a task that has run `alone` or among others."""
        weight = RATE_WEIGHT_ALONE if alone else RATE_WEIGHT
        self.rate = rate if not self.rate else self.rate + weight * (rate - self.rate)

    def progress(self) -> pb.Progress | None:
        """Return how far a download or load is, `None` if there is none."""
        phase = {pb.DOWNLOADING: "download", pb.LOADING: "load"}.get(self.state)
        return pb.Progress(phase=phase, done=self.done, total=self.total) if phase else None

    def status(self) -> pb.ModelStatus:
        """Return this as heartbeats tell it."""
        status = pb.ModelStatus(
            name=self.name,
            kind=self.model.kind if self.model else pb.MODEL_KIND_UNSPECIFIED,
            state=self.state,
            progress=self.done / self.total if self.total else 0.0,
            detail=self.detail,
            rate=self.rate,
            capabilities=sorted(self.capabilities),
            choice=self.model.choice if self.model else "",
            quantization=self.model.quantization if self.model else "",
            # The least that it takes; a footprint is for all slots, which need not fit.
            needs=self.model.needs if self.model else self.size[0],
            lead_needs=self.model.lead_needs if self.model else self.size[1],
            slices=self.model.slices if self.model else None,
            adapters=self.adapters,
            pinned=self.pinned,
            downloaded=self.model is not None and self.model.downloaded,
        )
        if self.resident is not None:
            engine = self.resident.engine
            status.identity.CopyFrom(self.resident.identity())
            status.bytes = engine.footprint
            status.quantization = engine.quantization
            status.placement = engine.placement
            status.engine = engine.library
            status.choice = "; ".join(filter(None, (status.choice, engine.choice)))
            if isinstance(engine, GuessesAhead) and engine.speculation is not None:
                status.speculation.CopyFrom(engine.speculation.told())
            if isinstance(engine, KeepsPrompts):
                status.cache_tokens = engine.cache_tokens
            if isinstance(engine, HeldByMany):
                status.shards.extend(engine.shards)
            if isinstance(engine, HasVoices):
                status.voices.extend(engine.voices)
        return status


@dataclass(slots=True, eq=False)
class Lease:
    """The right to use an engine; `release` it when done."""

    entry: ModelEntry
    resident: Resident
    on_release: Callable[[], None]
    released: bool = field(default=False)

    @property
    def engine(self) -> Engine:
        """What runs the tasks."""
        return self.resident.engine

    @property
    def broken(self) -> bool:
        """Whether the engine was taken away while in use, because it failed."""
        return self.entry.resident is not self.resident

    def release(self) -> None:
        """Give the engine back; more than once does no harm."""
        if not self.released:
            self.released = True
            self.resident.users -= 1
            self.resident.idle_since = time.monotonic()
            if not self.resident.users and self.resident.leaving:
                self.on_release()
