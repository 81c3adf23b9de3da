"""Which workers there are, as their heartbeats tell it."""

from collections import OrderedDict
from collections.abc import Iterator
from enum import IntEnum

import structlog

from daiic.head.job import Job
from daiic.head.limits import HeadLimits
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.messages import Address

log = structlog.get_logger()

TWINS = 3
"""Heartbeats of a replaced process that are no longer explained by delay."""


class Readiness(IntEnum):
    """How near a worker is to running a model, the nearest first."""

    LOADED = 0
    LOADING = 1
    ON_DISK = 2
    DOWNLOADING = 3
    DOWNLOADABLE = 4
    FAILED = 5


_READINESS = {
    pb.LOADED: Readiness.LOADED,
    pb.LOADING: Readiness.LOADING,
    pb.AVAILABLE: Readiness.ON_DISK,
    pb.DOWNLOADING: Readiness.DOWNLOADING,
    pb.FAILED: Readiness.FAILED,
}


class Worker:
    """One worker process: what it said last, and what this head has given it.

    `bytes` is the size of its heartbeat. `jobs` are the tasks it runs for this
    head, by attempt. `elsewhere` is how many it has from other heads; `last_assignment`
    orders workers by when they were last given something. `retired` are
    processes of the same id that this one has replaced, each with the number
    of heartbeats that came from it since.
    """

    __slots__ = (
        "_excess",
        "_rates",
        "_readiness",
        "address",
        "bytes",
        "can_download",
        "elsewhere",
        "heartbeat",
        "id",
        "incarnation",
        "jobs",
        "last_assignment",
        "retired",
        "rtt",
        "seen_at",
        "slots",
        "state",
    )

    def __init__(self, heartbeat: pb.Heartbeat, address: Address, now: float) -> None:
        self.id = heartbeat.worker_id
        self.incarnation = heartbeat.incarnation
        self.bytes = 0
        self.jobs: dict[int, Job] = {}
        self.retired: dict[int, int] = {}
        self.last_assignment = 0
        self.rtt: float | None = None
        self._excess = 0
        self.update(heartbeat, address, now)

    @property
    def identity(self) -> tuple[str, int]:
        """The process: a restarted worker is another one."""
        return self.id, self.incarnation

    def update(self, heartbeat: pb.Heartbeat, address: Address, now: float) -> None:
        """Take in what the same process says now."""
        self.heartbeat = heartbeat
        self.address = address
        self.seen_at = now
        self.state: int = heartbeat.state
        self.slots = heartbeat.slots or 1
        self.can_download = heartbeat.can_download
        self._readiness = {
            model.name: _READINESS[model.state]
            for model in heartbeat.models
            if model.state in _READINESS
        }
        self._rates = {model.name: model.rate for model in heartbeat.models}
        # A heartbeat may cross results on the way, so only what two of them say counts.
        excess = max(heartbeat.running + heartbeat.waiting - len(self.jobs), 0)
        self.elsewhere = min(excess, self._excess)
        self._excess = excess

    @property
    def load(self) -> int:
        """Tasks that it has, from all heads."""
        return len(self.jobs) + self.elsewhere

    def readiness(self, model: str) -> Readiness | None:
        """Return how near it is to running `model`, `None` if it cannot get there."""
        near = self._readiness.get(model)
        if near is None and self.can_download and names_repository(model):
            return Readiness.DOWNLOADABLE
        return near

    def rate(self, model: str) -> float:
        """Return tokens or images a second of one task, 0 if not measured."""
        return self._rates.get(model, 0.0)

    def began(self, model: str) -> None:
        """Expect `model` to be loaded, until the next heartbeat says how it is."""
        near = self._readiness.get(model)
        if near is None or near > Readiness.LOADING:
            self._readiness[model] = Readiness.LOADING


def names_repository(model: str) -> bool:
    """Return whether `model` has the form of a Hugging Face id, "owner/name"."""
    owner, _, name = model.partition("/")
    return bool(owner and name) and "/" not in name and not name.endswith(".safetensors")


class Registry:
    """All workers heard from lately, by id."""

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._workers: dict[str, Worker] = {}
        self._by_address: dict[Address, Worker] = {}
        self._bytes = 0
        self._stopped: OrderedDict[tuple[str, int], None] = OrderedDict()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker_id: str) -> Worker | None:
        """Return the worker with that id."""
        return self._workers.get(worker_id)

    def at(self, address: Address) -> Worker | None:
        """Return the worker at `address`."""
        return self._by_address.get(address)

    def measured(self, address: Address, rtt: float) -> None:
        """Take in how far, in seconds, a worker is away."""
        worker = self.at(address)
        if worker is not None:
            worker.rtt = rtt

    def heard(
        self, heartbeat: pb.Heartbeat, address: Address, now: float
    ) -> tuple[Worker | None, list[Worker]]:
        """Take in a heartbeat.

        Returns the worker it is about, `None` if it comes from a process that
        has stopped or been replaced by another of the same id, or if there is
        no room for it; and those that this heartbeat shows to be gone: an
        earlier process of that id, and another worker at that address.
        """
        if (heartbeat.worker_id, heartbeat.incarnation) in self._stopped:
            return None, []
        known = self._workers.get(heartbeat.worker_id)
        same = known is not None and known.incarnation == heartbeat.incarnation
        if known is not None and not same and heartbeat.incarnation in known.retired:
            self._count_twin(known, heartbeat, address)
            return None, []
        size = heartbeat.ByteSize()
        if not self._has_room(size, known):
            return None, []
        gone: list[Worker] = []
        there = self._by_address.get(address)
        if there is not None and there.id != heartbeat.worker_id:
            gone.append(there)
            self.remove(there)
        if known is not None:
            self._uncount(known)
        if known is not None and same:
            worker = known
            worker.update(heartbeat, address, now)
        else:
            worker = Worker(heartbeat, address, now)
            if known is not None:
                gone.append(known)
                worker.retired = known.retired
                worker.retired[known.incarnation] = 0
                if len(worker.retired) > self._limits.incarnations:
                    del worker.retired[next(iter(worker.retired))]
        worker.bytes = size
        self._bytes += size
        self._workers[worker.id] = self._by_address[address] = worker
        return worker, gone

    def _has_room(self, size: int, known: Worker | None) -> bool:
        full = known is None and len(self._workers) >= self._limits.workers
        before = known.bytes if known is not None else 0
        return not full and self._bytes - before + size <= self._limits.heartbeats_memory

    def _count_twin(self, known: Worker, heartbeat: pb.Heartbeat, address: Address) -> None:
        known.retired[heartbeat.incarnation] += 1
        if known.retired[heartbeat.incarnation] == TWINS:
            log.warning(
                "two workers have the same id, so one of them gets no tasks; "
                "give each a state_dir of its own",
                worker=known.id,
                served=format_address(known.address),
                ignored=format_address(address),
            )

    def remove(self, worker: Worker) -> None:
        """Forget `worker`; its next heartbeat brings it back."""
        if self._workers.get(worker.id) is worker:
            del self._workers[worker.id]
            self._uncount(worker)

    def _uncount(self, worker: Worker) -> None:
        self._bytes -= worker.bytes
        if self._by_address.get(worker.address) is worker:
            del self._by_address[worker.address]

    def retire(self, worker: Worker) -> None:
        """Ignore what `worker` said before it stopped and comes only now."""
        self._stopped[worker.identity] = None
        if len(self._stopped) > self._limits.stopped:
            self._stopped.popitem(last=False)

    def silent_since(self, moment: float) -> list[Worker]:
        """Return the workers not heard from since `moment`."""
        return [worker for worker in self._workers.values() if worker.seen_at < moment]
