"""What workers have for a group, beside those that there are.

What their heartbeats say may or may not have reckoned with groups yet. So it is
remembered what a worker had when the first of its groups was formed, and what
was given away since is taken off that; the lesser of both counts.
"""

from collections.abc import Collection
from dataclasses import replace

from daiic.head.group_candidates import Candidate
from daiic.head.groups import Host
from daiic.head.shared_model import Process, SharedModel
from daiic.head.slices import Slicer
from daiic.head.worker import Worker

Groups = Collection[SharedModel]


class GroupMemory:
    """The memory of all workers that groups may have."""

    def __init__(self) -> None:
        self._before: dict[Process, tuple[int, int]] = {}

    def as_lead(self, one: Candidate, groups: Groups, ended: Groups) -> Host:
        """Return `one` as it leads beside `groups`, when those `ended` have left it."""
        worker = one.worker
        # What it has of groups that it leads itself is in its room already.
        room = worker.room + _given(worker, [g for g in ended if g.lead != worker.process])
        known = self._before.get(worker.process)
        if known is not None:
            room = min(room, known[1] - _given(worker, groups))
        return Host(
            worker.id,
            one.takes,
            one.keeps,
            max(room, 0),
            rank=int(one.rank),
            gpu=bool(worker.heartbeat.vram.total),
            rtt=_microseconds(worker.rtt),
            links=_links(worker),
        )

    def as_member(self, worker: Worker, groups: Groups, ended: Groups) -> Host:
        """Return `worker` as one that lends beside `groups`, when those `ended` have left it."""
        assert worker.offer is not None
        lends = worker.offer.bytes + _given(worker, ended)
        known = self._before.get(worker.process)
        if known is not None:
            lends = min(lends, known[0] - _given(worker, groups))
        if any(group.has_member(worker.process) for group in groups):
            lends = 0  # an rpc-server serves one leader at a time
        return Host(
            worker.id, lends=max(lends, 0), rtt=_microseconds(worker.rtt), links=_links(worker)
        )

    def as_slicer(self, worker: Worker, model: str, groups: Groups, ended: Groups) -> Slicer:
        """Return `worker` as it computes a slice of `model`, when those `ended` have left it."""
        assert worker.offer is not None
        rank = worker.readiness(model)
        assert rank is not None
        host = self.as_lead(Candidate(worker, 0, 0, rank), groups, ended)
        given = _given(worker, ended)
        free = worker.offer.slice_bytes
        # What it has of groups that it leads, and models that would leave, are held by itself.
        led = _given(worker, [group for group in ended if group.lead == worker.process])
        room = min(host.room, free + _held(worker) + given - led)
        lends = free + given
        known = self._before.get(worker.process)
        if known is not None:
            lends = min(lends, known[1] - _given(worker, groups))
        return _slicer(worker, model, replace(host, room=max(room, 0), lends=max(lends, 0)))

    def slicer_at_best(self, worker: Worker, model: str) -> Slicer:
        """Return `worker` as it would compute a slice of `model` without any group."""
        assert worker.offer is not None
        _, held = self._before.get(worker.process, (0, 0))
        room = max(worker.room, held)
        lends = max(worker.offer.slice_bytes, held)
        return _slicer(worker, model, Host(worker.id, room=room, lends=lends))

    def at_best(self, worker: Worker, takes: int = 0, keeps: int = 0) -> Host:
        """Return `worker` as it would be without any group."""
        assert worker.offer is not None
        lent, held = self._before.get(worker.process, (0, 0))
        room, lends = max(worker.room, held), max(worker.offer.bytes, lent)
        return Host(worker.id, takes, keeps, room, lends)

    def given(self, worker: Worker, group: SharedModel, *, loaded: bool) -> None:
        """Note that `worker` has a part of `group`, which its heartbeats tell if it is `loaded`."""
        if worker.process in self._before:
            return
        lent = worker.offer.bytes if worker.offer is not None else 0
        held = worker.room
        if loaded:
            lent += group.bytes_of(worker.process)
            if worker.process != group.lead:
                held += group.bytes_of(worker.process)
        self._before[worker.process] = lent, held

    def keep(self, groups: Groups) -> None:
        """Forget workers that are in none of `groups`."""
        left = frozenset[Process]().union(*(group.processes for group in groups))
        self._before = {p: known for p, known in self._before.items() if p in left}


def _held(worker: Worker) -> int:
    """Return the bytes that a worker's own models hold."""
    free = worker.heartbeat.vram.free + worker.heartbeat.ram.free
    return max((worker.memory or 0) - free, 0)


def _slicer(worker: Worker, model: str, host: Host) -> Slicer:
    slices = worker.slices(model)
    assert slices is not None
    assert worker.offer is not None
    return Slicer(host, worker.offer.like, slices.bytes, slices.each, slices.most)


def _given(worker: Worker, groups: Groups) -> int:
    return sum(group.bytes_of(worker.process) for group in groups)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)


def _links(worker: Worker) -> dict[str, tuple[int, int]]:
    assert worker.offer is not None
    return {
        link.worker_id: (round(link.rtt_ms * 1000), int(link.bytes_per_second))
        for link in worker.offer.links
    }
