"""The models that several workers hold together, and what of whose memory is given away.

A group lasts while all of its workers are there and the one that leads has the
model loaded. Heads keep nothing that heartbeats do not restore: the group that
another head has formed, or this one before it was restarted, is taken over from
what its leader says.
"""

from itertools import chain

import structlog

from daiic.head.groups import Host, form
from daiic.head.job import Job
from daiic.head.limits import HeadLimits
from daiic.head.registry import Registry
from daiic.head.scheduling import is_allowed
from daiic.head.shared_model import Part, Process, SharedModel
from daiic.head.worker import SERVING, Readiness, Worker
from daiic.wire import daiic_pb2 as pb

log = structlog.get_logger()

READY = frozenset({pb.READY})
KEPT = 10.0
"""Seconds after its last task in which a group's leader may still not say that it has the model."""
SET_ASIDE = 10.0
"""Seconds for which no group is formed with a worker that another one has lost.

By then one whose machine is gone is out of the registry, and another lends again.
"""


class GroupLedger:
    """All groups of this head's workers."""

    def __init__(self, workers: Registry, limits: HeadLimits) -> None:
        self._workers = workers
        self._limits = limits
        self._groups: list[SharedModel] = []
        self._offered: dict[Process, tuple[int, int]] = {}
        """What workers lent, and could hold, when the first of their groups was formed."""
        self._aside: dict[Process, float] = {}

    def held(self, job: Job, now: float) -> tuple[Worker, SharedModel] | None:
        """Return a group that holds the model of `job`, and who leads it."""
        for worker in self._leads(job, READY):
            group = self._held_by(worker, job.model, now)
            if group is not None:
                return worker, group
        return None

    def formed(self, job: Job, now: float) -> tuple[Worker, SharedModel] | None:
        """Form a group for `job`; return it and who leads it, `None` if memory does not suffice."""
        leads = self._leads(job, READY)
        lenders = [worker for worker in self._lenders(job) if self._usable(worker, now)]
        formed = form(
            [self._as_lead(worker, job) for worker in leads],
            [self._as_member(worker) for worker in lenders],
            self._limits.members,
        )
        if formed is None:
            return None
        by_id = {worker.id: worker for worker in chain(lenders, leads)}
        lead = by_id[formed.lead]
        members = tuple(_part(by_id[worker_id], size) for worker_id, size in formed.members)
        group = SharedModel(job.model, lead.process, formed.lead_bytes, members, now)
        self._add(group)
        log.info(
            "group formed",
            model=job.model,
            takes=lead.models[job.model].takes,
            lead=lead.title,
            members=[f"{part.name}: {part.bytes >> 20} MiB" for part in members],
            reason="no worker can hold it alone",
        )
        return lead, group

    def may_serve(self, job: Job) -> bool:
        """Return whether a group could run `job`, now or once others have given memory back."""
        leads = self._leads(job, SERVING)
        hosts = [self._at_best(worker, job.model) for worker in leads]
        lenders = [self._at_best(worker, job.model) for worker in self._lenders(job)]
        return form(hosts, lenders, self._limits.members) is not None

    def lost(self, process: Process) -> None:
        """`process` is gone, and with it every group that it was in."""
        self._remove([group for group in self._groups if process in group.processes])
        self._aside.pop(process, None)

    def failed(self, group: SharedModel, said: str, now: float) -> None:
        """The leader of `group` has lost a member; those it names are left alone for a while."""
        for process in group.blamed(said):
            self._aside[process] = now + SET_ASIDE
        self._remove([group])

    def tick(self, now: float) -> None:
        """Forget groups whose leader no longer has the model."""
        gone = [group for group in self._groups if not self._lasts(group, now)]
        if gone:
            self._remove(gone)
        self._aside = {process: until for process, until in self._aside.items() if until > now}

    # ----------------------------------------------------------------- who

    def _leads(self, job: Job, states: frozenset[pb.WorkerState]) -> list[Worker]:
        """Return the workers that could lead: they have the model, and tell how much it takes."""
        return [
            worker
            for worker in self._workers
            if worker.offer is not None
            and worker.state in states
            and worker.takes(job.model)
            and not worker.lacks(job.model, job.needs)
            and is_allowed(worker, job)
        ]

    def _lenders(self, job: Job) -> list[Worker]:
        return [
            worker
            for worker in self._workers
            if worker.offer is not None
            and worker.offer.address
            and worker.state in SERVING
            and job.tags <= worker.tags
        ]

    def _usable(self, worker: Worker, now: float) -> bool:
        return worker.state == pb.READY and self._aside.get(worker.process, 0.0) <= now

    def _held_by(self, lead: Worker, model: str, now: float) -> SharedModel | None:
        """Return the group that `lead` has `model` with, if all of its members are there."""
        for group in self._groups:
            if group.model == model and group.lead == lead.process:
                if self._complete(group, now):
                    group.used_at = now
                    return group
                self._remove([group])
                return None
        return self._taken_over(lead, model, now)

    def _taken_over(self, lead: Worker, model: str, now: float) -> SharedModel | None:
        known = lead.models[model]
        others = [shard for shard in known.shards if shard.worker_id != lead.id]
        if known.readiness != Readiness.LOADED or not others:
            return None
        parts = []
        for shard in others:
            worker = self._workers.get(shard.worker_id)
            if worker is None or worker.offer is None:
                return None
            parts.append(_part(worker, shard.bytes))
        own = sum(shard.bytes for shard in known.shards if shard.worker_id == lead.id)
        group = SharedModel(model, lead.process, own, tuple(parts[: self._limits.members]), now)
        if not self._complete(group, now):
            return None
        self._add(group)
        return group

    def _complete(self, group: SharedModel, now: float) -> bool:
        for part in group.members:
            worker = self._workers.get(part.process[0])
            if (
                worker is None
                or worker.process != part.process
                or worker.offer is None
                or worker.offer.address != part.address
                or not self._usable(worker, now)
            ):
                return False
        return True

    # ---------------------------------------------------------------- bytes

    def _as_lead(self, worker: Worker, job: Job) -> Host:
        room = worker.memory or 0
        known = self._offered.get(worker.process)
        if known is not None:
            room = min(room, known[1] - self._given(worker, worker))
        return Host(
            worker.id,
            worker.takes(job.model),
            max(room, 0),
            rank=int(worker.models[job.model].readiness),
            gpu=bool(worker.heartbeat.vram.total),
            rtt=_microseconds(worker.rtt),
            links=_links(worker),
        )

    def _as_member(self, worker: Worker) -> Host:
        assert worker.offer is not None
        lends = worker.offer.bytes
        known = self._offered.get(worker.process)
        if known is not None:
            # Whether it has reckoned with its groups in what it offers now is not known.
            lends = min(lends, known[0] - self._given(worker, None))
        return Host(
            worker.id, lends=max(lends, 0), rtt=_microseconds(worker.rtt), links=_links(worker)
        )

    def _at_best(self, worker: Worker, model: str) -> Host:
        """Return `worker` as it would be without any group."""
        assert worker.offer is not None
        lent, held = self._offered.get(worker.process, (0, 0))
        room = max(worker.memory or 0, held)
        lends = max(worker.offer.bytes, lent)
        return Host(worker.id, worker.takes(model), room, lends)

    def _given(self, worker: Worker, lead: Worker | None) -> int:
        """Return the bytes of `worker` that groups have, but for those that only `lead` leads."""
        return sum(
            group.bytes_of(worker.process)
            for group in self._groups
            if lead is None or group.lead != lead.process
        )

    def _add(self, group: SharedModel) -> None:
        for process in group.processes:
            worker = self._workers.get(process[0])
            if worker is not None and process not in self._offered:
                offered = worker.offer.bytes if worker.offer is not None else 0
                self._offered[process] = offered, worker.memory or 0
        self._groups.append(group)

    def _remove(self, gone: list[SharedModel]) -> None:
        self._groups = [group for group in self._groups if group not in gone]
        left = frozenset[Process]().union(*(group.processes for group in self._groups))
        self._offered = {p: known for p, known in self._offered.items() if p in left}

    def _lasts(self, group: SharedModel, now: float) -> bool:
        worker = self._workers.get(group.lead[0])
        if worker is None or worker.process != group.lead:
            return False
        known = worker.models.get(group.model)
        has = known is not None and known.readiness <= Readiness.LOADING
        if has or worker.attempts:
            group.used_at = now
        return now - group.used_at < KEPT


def _part(worker: Worker, size: int) -> Part:
    assert worker.offer is not None
    return Part(worker.process, worker.title, worker.offer.address, size)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)


def _links(worker: Worker) -> dict[str, tuple[int, int]]:
    assert worker.offer is not None
    return {
        link.worker_id: (round(link.rtt_ms * 1000), int(link.bytes_per_second))
        for link in worker.offer.links
    }
