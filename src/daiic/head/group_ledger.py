"""The models that several workers hold together: formed, taken over, ended.

A group lasts while all of its workers are there and the one that leads has the
model loaded. Heads keep nothing that heartbeats do not restore: the group that
another head has formed, or this one before it was restarted, is taken over from
what its leader says. A group without tasks ends when another one needs its
memory.
"""

from collections.abc import Callable, Collection

import structlog

from daiic.head.group_candidates import can_lead, leads, lenders, size, slicers
from daiic.head.group_memory import GroupMemory
from daiic.head.groups import Formation, form
from daiic.head.job import Job
from daiic.head.limits import HeadLimits
from daiic.head.registry import Registry
from daiic.head.shared_model import Part, Process, SharedModel
from daiic.head.slices import form_slices
from daiic.head.worker import READY, SERVING, Readiness, Worker
from daiic.wire import daiic_pb2 as pb

log = structlog.get_logger()

KEPT = 10.0
"""Seconds in which a group's leader may not say that it has the model, or still say so."""
SETTLED = 3.0
"""Seconds after the end of a group until all of its workers have told what is free now."""
SET_ASIDE = 10.0
"""Seconds for which no group is formed with a worker that another one has lost.

By then one whose machine is gone is out of the registry, and another lends again.
"""


class GroupLedger:
    """All groups of this head's workers."""

    def __init__(
        self, workers: Registry, limits: HeadLimits, unload: Callable[[Worker, str], None]
    ) -> None:
        """`unload` asks a worker to take a model out of memory."""
        self._workers = workers
        self._limits = limits
        self._unload = unload
        self._memory = GroupMemory()
        self._groups: list[SharedModel] = []
        self._aside: dict[Process, float] = {}
        self._settled_at = 0.0

    def held(self, job: Job, now: float) -> tuple[Worker, SharedModel] | None:
        """Return a group that holds the model of `job`, and who leads it."""
        for worker in self._workers:
            self._take_over(worker, job.model, now)
        for group in [group for group in self._groups if group.model == job.model]:
            lead = self._lead_of(group)
            if lead is None or lead.state != pb.READY or not can_lead(lead, job):
                continue
            if not self._complete(group, now):
                self._remove([group])
            elif group.ending_since is None:
                group.used_at = group.seen_at = now
                return lead, group
        return None

    def formed(self, job: Job, now: float) -> tuple[Worker, SharedModel] | None:
        """Form a group for `job`; return it and who leads it, `None` if memory does not suffice."""
        if any(
            group.model == job.model and group.ending_since is not None for group in self._groups
        ):
            return None
        for worker in self._workers:  # who lends to a group of another head, lends to no second one
            for model in worker.models:
                self._take_over(worker, model, now)
        formed = self._formation(job, now)
        if formed is None:
            return None
        lead = self._named(formed.lead)
        members = tuple(
            _part(self._named(worker_id), job.model, size) for worker_id, size in formed.members
        )
        group = SharedModel(job.model, lead.process, formed.lead_bytes, members, now)
        self._add(group)
        log.info(
            "group formed",
            model=job.model,
            takes=lead.takes(job.model) or size(self._workers, job)[0],
            lead=f"{lead.title}: {formed.lead_bytes >> 20} MiB",
            members=[f"{part.name}: {part.bytes >> 20} MiB" for part in members],
            reason="no worker can hold it alone",
        )
        return lead, group

    def make_way(self, job: Job, now: float) -> None:
        """End groups without tasks if one for `job` could be formed then, the least used first."""
        ending = any(group.ending_since is not None for group in self._groups)
        if ending or now < self._settled_at:
            return
        idle = sorted(
            (group for group in self._groups if not group.running and group.model != job.model),
            key=lambda group: group.used_at,
        )
        if not idle or self._formation(job, now, idle) is None:
            return  # and there would be none with fewer of them gone
        for count in range(1, len(idle) + 1):
            if self._formation(job, now, idle[:count]) is not None:
                break
        ended = idle[:count]
        for group in idle[: count - 1]:  # what others have given way for may stay
            fewer = [other for other in ended if other is not group]
            if self._formation(job, now, fewer) is not None:
                ended = fewer
        for group in ended:
            self._end(group, job, now)

    def may_serve(self, job: Job) -> bool:
        """Return whether a group could run `job`, now or once others have given memory back."""
        by_layers = form(
            [
                self._memory.at_best(one.worker, one.takes, one.keeps)
                for one in leads(self._workers, job, SERVING)
            ],
            [self._memory.at_best(worker) for worker in lenders(self._workers, job)],
            self._limits.members,
        )
        return by_layers is not None or (
            form_slices(
                [
                    (self._memory.slicer_at_best(worker, job.model), can_lead(worker, job))
                    for worker in slicers(self._workers, job, SERVING)
                ],
                self._limits.members,
            )
            is not None
        )

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

    def _formation(
        self, job: Job, now: float, ended: Collection[SharedModel] = ()
    ) -> Formation | None:
        """Return what group there could be for `job` now, when those `ended` are gone."""
        groups = [group for group in self._groups if group not in ended]
        sliced = form_slices(
            [
                (
                    self._memory.as_slicer(worker, job.model, groups, ended),
                    can_lead(worker, job),
                )
                for worker in slicers(self._workers, job, READY)
                if self._usable(worker, now)
            ],
            self._limits.members,
        )
        return sliced or form(
            [self._memory.as_lead(one, groups, ended) for one in leads(self._workers, job, READY)],
            [
                self._memory.as_member(worker, groups, ended)
                for worker in lenders(self._workers, job)
                if self._usable(worker, now)
            ],
            self._limits.members,
        )

    def _named(self, worker_id: str) -> Worker:
        worker = self._workers.get(worker_id)
        assert worker is not None
        return worker

    def _lead_of(self, group: SharedModel) -> Worker | None:
        worker = self._workers.get(group.lead[0])
        return worker if worker is not None and worker.process == group.lead else None

    def _usable(self, worker: Worker, now: float) -> bool:
        return worker.state == pb.READY and self._aside.get(worker.process, 0.0) <= now

    def _complete(self, group: SharedModel, now: float) -> bool:
        for part in group.members:
            worker = self._workers.get(part.process[0])
            if (
                worker is None
                or worker.process != part.process
                or worker.address_for(group.model) != part.address
                or not self._usable(worker, now)
            ):
                return False
        return True

    # ---------------------------------------------------------------- groups

    def _take_over(self, lead: Worker, model: str, now: float) -> None:
        """Take over the group with which `lead` holds `model`, if it is not known."""
        known = lead.models.get(model)
        if known is None or not known.shards or known.readiness != Readiness.LOADED:
            return
        if lead.offer is None:
            return
        if any(group.lead == lead.process and group.model == model for group in self._groups):
            return
        parts = []
        for shard in known.shards:
            worker = self._workers.get(shard.worker_id)
            if worker is None or worker.offer is None:
                return
            if worker is not lead and not worker.address_for(model):
                return
            if worker is not lead:
                parts.append(_part(worker, model, shard.bytes))
        own = sum(shard.bytes for shard in known.shards if shard.worker_id == lead.id)
        group = SharedModel(model, lead.process, own, tuple(parts[: self._limits.members]), now)
        if parts and self._complete(group, now):
            self._add(group, loaded=True)

    def _add(self, group: SharedModel, *, loaded: bool = False) -> None:
        for process in group.processes:
            self._memory.given(self._named(process[0]), group, loaded=loaded)
        self._groups.append(group)

    def _remove(self, gone: list[SharedModel]) -> None:
        self._groups = [group for group in self._groups if group not in gone]
        self._memory.keep(self._groups)

    def _end(self, group: SharedModel, job: Job, now: float) -> None:
        """Have the leader of `group` let its model go, if it has it; for the model of `job`."""
        lead = self._lead_of(group)
        if lead is not None and _has(lead, group):
            group.ending_since = now
            self._unload(lead, group.model)
        elif now - group.seen_at >= SETTLED:
            self._remove([group])
        else:
            return  # its leader may just have loaded the model
        log.info("group ends", model=group.model, reason=f"{job.model} needs its memory")

    def _lasts(self, group: SharedModel, now: float) -> bool:
        worker = self._lead_of(group)
        if worker is None:
            return False
        has = _has(worker, group)
        if group.ending_since is not None:
            if not has:
                self._settled_at = now + SETTLED
                return False
            if now - group.ending_since >= KEPT:  # a task of another head runs on it
                group.ending_since = None
                group.used_at = now
        if group.running:
            group.used_at = now
        if has or group.running:
            group.seen_at = now
        return now - group.seen_at < KEPT


def _has(lead: Worker, group: SharedModel) -> bool:
    known = lead.models.get(group.model)
    return known is not None and known.readiness <= Readiness.LOADING


def _part(worker: Worker, model: str, size: int) -> Part:
    return Part(worker.process, worker.title, worker.address_for(model), size)
