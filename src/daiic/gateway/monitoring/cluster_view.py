"""What the gateway knows about the cluster: it asks the head for its status once a second.

While nobody wants to know it asks less often, and at once when somebody does.
Everything that needs the status shares this one: the list of models, advice on when
to try again, metrics, and the page.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS, capabilities_of
from daiic.model_names import Names, adapted
from daiic.shown import word
from daiic.wire import daiic_pb2 as pb

INTERVAL = 1.0
"""Seconds between two questions while the page is open, requests come, or no head answers."""
IDLE_INTERVAL = 3.0
"""The same otherwise; soon enough that the client does not take its heads for silent."""
AWAKE = 10.0
"""Seconds after a request in which there may be another."""
HISTORY = 120
"""Seconds of measurements that are kept for the page's chart."""

_NOT_ADAPTED = frozenset({pb.EMBED})
"""What a model does without its adapters."""
_READINESS = (pb.LOADED, pb.LOADING, pb.DOWNLOADING, pb.AVAILABLE, pb.FAILED)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model on all workers together.

    `state` is the best that it has on any of them, `capabilities` are what it can do on any
    on which it has not failed, `since` is when it was first seen, in seconds since the Epoch.
    `quantization` is "" and `bytes`, of memory that it takes or will take, 0 if not known.
    `base` is the name of the model that this is with an adapter, "" if it is one of its own.
    """

    name: str
    kind: pb.ModelKind
    state: pb.ModelState
    capabilities: frozenset[pb.Capability]
    since: int
    quantization: str
    bytes: int
    base: str = ""

    @property
    def kind_name(self) -> str:
        """As the API and the page spell it."""
        return kind_name(self.kind)

    @property
    def state_name(self) -> str:
        """As the API and the page spell it."""
        return word(pb.ModelState, self.state)

    @property
    def capability_names(self) -> list[str]:
        """As the API and the page spell them."""
        return capability_names(self.capabilities)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The cluster at one moment; `at` is on the view's clock."""

    at: float
    tokens_per_second: float
    in_flight: int
    tasks_done: int


class ClusterView:
    """The latest status of the cluster, kept fresh by `follow`."""

    def __init__(self, cluster: ClusterClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._first_seen: dict[str, int] = {}
        self._fresh = asyncio.Event()
        self._wake = asyncio.Event()
        self._resting = False
        self._watching = 0
        self._wanted_at = -AWAKE
        self.asked_at = 0.0
        self.status: pb.ClusterStatus | None = None
        self.problem: TaskError | None = None
        self.models: dict[str, KnownModel] = {}
        self._preferred: tuple[list[str], dict[str, tuple[str, ...]]] = ([], {})
        self._names = Names(())
        self.history: deque[Measurement] = deque(maxlen=HISTORY)

    async def follow(self) -> None:
        """Ask the head again and again; never returns."""
        while True:
            try:
                status = await self._cluster.status()
            except TaskError as error:
                self.problem, self.status = error, None
            else:
                self.update(status)
            self._resting = False
            self.asked_at = self._clock()
            self._fresh.set()
            self._fresh = asyncio.Event()
            await asyncio.sleep(INTERVAL)
            if self._may_rest():
                await self._rest()

    def _may_rest(self) -> bool:
        wanted = self._watching or self._clock() - self._wanted_at < AWAKE
        return self.status is not None and not wanted

    async def _rest(self) -> None:
        self._wake.clear()
        self._resting = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_INTERVAL - INTERVAL):
                await self._wake.wait()

    async def want(self) -> None:
        """Note that somebody wants to know; what is known is fresh when this returns."""
        self._wanted_at = self._clock()
        if self._resting:
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._fresh.wait()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Ask every `INTERVAL` for as long as this lasts."""
        self._watching += 1
        try:
            yield
        finally:
            self._watching -= 1

    async def updates(self) -> AsyncGenerator[None, None]:
        """Yield now, and each time the status has been asked for."""
        while True:
            fresh = self._fresh
            yield
            await fresh.wait()

    def update(self, status: pb.ClusterStatus) -> None:
        """Replace what is known by what the head says."""
        self.problem, self.status = None, status
        now = int(time.time())
        best: dict[str, pb.ModelStatus] = {}
        able: dict[str, frozenset[pb.Capability]] = {}
        adapters: dict[str, dict[str, None]] = {}
        for worker in status.workers:
            for model in worker.heartbeat.models:
                held = best.get(model.name)
                if held is None or _readiness(model) < _readiness(held):
                    best[model.name] = model
                can = capabilities_of(model) if model.state != pb.FAILED else None
                able[model.name] = able.get(model.name, frozenset()) | (can or frozenset())
                adapters.setdefault(model.name, {}).update(dict.fromkeys(sorted(model.adapters)))
        seen = self._first_seen
        self._first_seen = {name: seen.get(name, now) for name in best}
        self.models = {
            name: KnownModel(
                name,
                model.kind,
                model.state,
                able[name],
                self._first_seen[name],
                model.quantization,
                model.bytes or model.needs,
            )
            for name, model in sorted(best.items())
        }
        for name, theirs in adapters.items():
            for adapter in theirs:
                full = adapted(name, adapter)
                self._first_seen.setdefault(full, seen.get(full, now))
                if full not in best:
                    self.models[full] = replace(
                        self.models[name],
                        name=full,
                        capabilities=able[name] - _NOT_ADAPTED,
                        since=self._first_seen[full],
                        base=name,
                    )
        usable = sorted(self.usable, key=lambda model: model.state != pb.LOADED)
        names = [model.name for model in usable if not model.base]
        there = {name: tuple(adapters[name]) for name in names if adapters[name]}
        if (names, there) != self._preferred:
            self._preferred, self._names = (names, there), Names(names, there)
        measured = Measurement(
            self._clock(),
            sum(worker.heartbeat.tokens_per_second for worker in status.workers),
            status.in_flight,
            status.tasks_done,
        )
        self._fill_gap(measured.at)
        self.history.append(measured)

    def _fill_gap(self, until: float) -> None:
        """Have the history go on, a second at a time, over a rest."""
        if self.history and until - self.history[-1].at < 2 * IDLE_INTERVAL:
            while until - self.history[-1].at >= 1.5 * INTERVAL:
                last = self.history[-1]
                self.history.append(replace(last, at=last.at + INTERVAL))

    @property
    def usable(self) -> list[KnownModel]:
        """The models that a request may name."""
        return [model for model in self.models.values() if model.state != pb.FAILED]

    def copies(self, name: str) -> Iterator[pb.ModelStatus]:
        """Yield what each worker that has the model `name` says of it."""
        for worker in self.status.workers if self.status is not None else ():
            yield from (model for model in worker.heartbeat.models if model.name == name)

    def meant(self, model: str) -> str:
        """Return which model is meant by what a request calls it, `model` itself if none is."""
        return self._names.meant(model)

    def parts(self, model: str) -> tuple[str, str]:
        """Return the model and the adapter that are meant by `model`; "" for no adapter."""
        return self._names.parts(self.meant(model))

    def label(self, model: str | None) -> str:
        """Return `model` if the cluster has it, else "unknown": clients must not create labels."""
        name = self.meant(model) if model else ""
        return name if name in self.models else "unknown"

    def retry_after(self) -> int:
        """Return the seconds until the queue should have space, from the rate measured."""
        if self.status is None or len(self.history) < 2:
            return 2
        first, last = self.history[max(0, len(self.history) - 30)], self.history[-1]
        finished = last.tasks_done - first.tasks_done
        if finished <= 0:
            return 10
        # Trying again is worthwhile once a tenth of the queue has drained.
        wait = self.status.queued / 10 * (last.at - first.at) / finished
        return max(1, min(60, round(wait)))

    def why_not_ready(self) -> str | None:
        """Return why no request can be served now; `None` if some can."""
        if self.problem is not None:
            return str(self.problem)
        if self.status is None:
            return "the head has not answered yet"
        return None


def kind_name(kind: pb.ModelKind) -> str:
    """Return the name of a kind of model as the API and the page spell it."""
    known = MODEL_KINDS.get(kind)
    return known.name if known is not None else "unknown"


def capability_names(capabilities: Iterable[pb.Capability]) -> list[str]:
    """Return the names of capabilities as the API and the page spell them."""
    return [word(pb.Capability, capability) for capability in sorted(capabilities)]


def _readiness(model: pb.ModelStatus) -> int:
    return _READINESS.index(model.state) if model.state in _READINESS else len(_READINESS)
