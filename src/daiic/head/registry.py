"""The workers that this head hears from."""

from collections import OrderedDict
from collections.abc import Iterator

import structlog

from daiic.head.limits import HeadLimits
from daiic.head.worker import Worker
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.messages import Address

log = structlog.get_logger()

TWINS = 3
"""Heartbeats of a replaced process that are no longer explained by delay."""


class Registry:
    """All workers heard from recently, by id."""

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._workers: dict[str, Worker] = {}
        self._by_address: dict[Address, Worker] = {}
        self._bytes = 0
        self._lending = 0
        self._stopped: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._deaf: OrderedDict[Address, None] = OrderedDict()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def lending(self) -> bool:
        """Whether any worker lends memory to models of others."""
        return self._lending > 0

    def get(self, worker_id: str) -> Worker | None:
        """Return the worker with that id."""
        return self._workers.get(worker_id)

    def at(self, address: Address) -> Worker | None:
        """Return the worker at `address`."""
        return self._by_address.get(address)

    def answered(self, address: Address, rtt: float) -> None:
        """Note that a PING to `address` was answered after `rtt` seconds."""
        self._deaf.pop(address, None)
        worker = self.at(address)
        if worker is not None:
            worker.rtt = rtt

    def heard(
        self, heartbeat: pb.Heartbeat, address: Address, now: float
    ) -> tuple[Worker | None, list[Worker]]:
        """Register or update the worker that sent `heartbeat`.

        Returns that worker, `None` if the heartbeat comes from a process that
        has stopped or was replaced by another of the same id, or if there is
        no room for it; and the workers that it shows to be gone: an earlier
        process of that id, and another worker at that address.
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
        self._lending += worker.offer is not None
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
        self._lending -= worker.offer is not None
        if self._by_address.get(worker.address) is worker:
            del self._by_address[worker.address]

    def retire(self, worker: Worker) -> None:
        """Ignore what `worker` sent before it stopped and arrives only now."""
        self._stopped[worker.process] = None
        if len(self._stopped) > self._limits.stopped:
            self._stopped.popitem(last=False)

    def deafen(self, address: Address) -> None:
        """Expect that whoever is at `address` hears nothing, until it answers a PING."""
        self._deaf[address] = None
        self._deaf.move_to_end(address)
        if len(self._deaf) > self._limits.workers:
            self._deaf.popitem(last=False)

    def deaf(self, address: Address) -> bool:
        """Return whether whoever is at `address` may be heard, but does not hear this head."""
        return address in self._deaf

    def heard_at(self) -> float | None:
        """Return when the worker that has been silent for longest was heard, `None` without one."""
        return min((worker.seen_at for worker in self._workers.values()), default=None)

    def silent_since(self, moment: float) -> list[Worker]:
        """Return the workers not heard from since `moment`."""
        return [worker for worker in self._workers.values() if worker.seen_at < moment]
