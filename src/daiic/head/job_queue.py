"""The bounded queue of jobs that wait for a worker.

Jobs that can run on the same workers form a group. Within a group and among
groups, clients take turns as `shares` says, and each client's jobs go in the
order of arrival; a group that has to wait does not hold up the others. A job
that was on a worker before has had its turn already and goes first.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from daiic.head.job import GroupKey, Job
from daiic.head.shares import Measure, Share, Shares
from daiic.head.worker import Worker

STALE = 64

Member = TypeVar("Member")


class Turns(Generic[Member]):
    """What each of several shares has waiting; the one that was served least is next.

    A share is only ever served more, so an entry of the heap that is out of
    date is too low, and is put right when it comes to the top.
    """

    __slots__ = ("_heap", "members")

    def __init__(self) -> None:
        self.members: dict[Share, Member] = {}
        self._heap: list[tuple[float, int, Share]] = []

    def put(self, share: Share, member: Member, number: int) -> None:
        """Let `share` take turns; of those served alike, the least `number` is first."""
        self.members[share] = member
        heapq.heappush(self._heap, (share.served, number, share))
        if len(self._heap) > 2 * len(self.members) + STALE:
            newest = {share: (share.served, n, share) for _, n, share in self._heap}
            self._heap = [entry for share, entry in newest.items() if share in self.members]
            heapq.heapify(self._heap)

    def next(self) -> tuple[float, int, Member]:
        """Return how much the next one was served, its number, and what it has."""
        heap = self._heap
        while True:
            served, number, share = heap[0]
            member = self.members.get(share)
            if member is None:
                heapq.heappop(heap)
            elif share.served != served:
                heapq.heapreplace(heap, (share.served, number, share))
            else:
                return served, number, member


class Group:
    """Jobs that can run on the same workers; `moved` ones were on another one before.

    `unservable_since` is when the last such worker was lost, `None` while
    there is one.
    """

    __slots__ = ("_hosts", "moved", "unservable_since")

    def __init__(self, moved: bool) -> None:
        self.moved = moved
        self._hosts: Turns[Turns[dict[int, Job]]] = Turns()
        self.unservable_since: float | None = None

    def __bool__(self) -> bool:
        return bool(self._hosts.members)

    def __iter__(self) -> Iterator[Job]:
        for clients in list(self._hosts.members.values()):
            for jobs in list(clients.members.values()):
                yield from list(jobs.values())

    @property
    def first(self) -> Job:
        """The job whose turn it is."""
        jobs = self._hosts.next()[2].next()[2]
        return next(iter(jobs.values()))

    @property
    def order(self) -> tuple[bool, float, float, int]:
        """The group with the least value is served first."""
        host_served, _, clients = self._hosts.next()
        served, _, jobs = clients.next()
        return not self.moved, host_served, served, next(iter(jobs))

    def add(self, job: Job, share: Share) -> None:
        """Add `job`, of the client with that share, in the order of arrival."""
        assert share.host is not None
        clients = self._hosts.members.get(share.host)
        if clients is None:
            clients = Turns()
            self._hosts.put(share.host, clients, job.number)
        jobs = clients.members.get(share)
        if jobs is None:
            jobs = {}
            clients.put(share, jobs, job.number)
        late = bool(jobs) and next(reversed(jobs)) > job.number
        jobs[job.number] = job
        if late:
            for number in sorted(jobs):
                jobs[number] = jobs.pop(number)

    def remove(self, job: Job, share: Share) -> None:
        """Remove `job`."""
        assert share.host is not None
        clients = self._hosts.members[share.host]
        jobs = clients.members[share]
        del jobs[job.number]
        if not jobs:
            del clients.members[share]
        if not clients.members:
            del self._hosts.members[share.host]


class JobQueue:
    """All jobs that wait, in their groups; `len` is the number of jobs."""

    def __init__(self) -> None:
        self._groups: dict[GroupKey, Group] = {}
        self._shares = Shares()
        self._share_of: dict[int, Share] = {}
        self.patient: dict[int, Job] = {}
        """Those that wait for a worker though others are free, by their numbers."""
        self._had_turn = Share("", Share("", None))
        """Of all jobs that were on a worker before."""

    def __len__(self) -> int:
        return len(self._share_of)

    def group_of(self, job: Job) -> Group | None:
        """Return the group that `job` belongs to, if there are jobs in it."""
        return self._groups.get(job.group_key)

    def add(self, job: Job, now: float) -> Group:
        """Let `job` wait; return its group."""
        moved = bool(job.failed_on)
        job.queued_at = now
        share = self._had_turn if moved else self._shares.join(job)
        self._share_of[job.number] = share
        return self._enter(job, share, moved)

    def _enter(self, job: Job, share: Share, moved: bool) -> Group:
        key = job.group_key
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(moved)
        group.add(job, share)
        return group

    def _leave(self, job: Job, share: Share) -> Group:
        key = job.group_key
        group = self._groups[key]
        group.remove(job, share)
        if not group:
            del self._groups[key]
        return group

    def await_worker(self, job: Job, worker: Worker | None) -> None:
        """Let `job` wait for `worker`, or for any if that is `None`, as if it always had.

        It keeps its turn, and holds up only those behind it that wait for the same worker.
        """
        if job.awaits is worker:
            return
        share = self._share_of.get(job.number)
        if share is None:  # it is about to be added
            self._set_awaits(job, worker)
            return
        group = self._leave(job, share)
        self._set_awaits(job, worker)
        into = self._enter(job, share, group.moved)
        into.unservable_since = group.unservable_since

    def _set_awaits(self, job: Job, worker: Worker | None) -> None:
        if job.awaits is not None:
            job.awaits.awaited -= 1
            del self.patient[job.number]
        job.awaits = worker
        if worker is not None:
            worker.awaited += 1
            self.patient[job.number] = job

    def remove(self, job: Job, cost: float = 0.0) -> None:
        """Remove `job`, which must be waiting; charge its client `cost` for its turn."""
        share = self._share_of.pop(job.number)
        if not self._leave(job, share).moved:
            self._shares.leave(job, share)
            self._shares.charge(share, cost, job.weight)
        self._set_awaits(job, None)

    def serve(self, assign: Callable[[Job], float | None], room: Callable[[], bool]) -> None:
        """Assign jobs to workers, in turn, while there is `room`.

        `assign` assigns a job and returns its cost in seconds, `None` if it
        has to wait, with all others of its group, unless it has had it await a worker.
        """
        groups = [
            (group.order, number, group) for number, group in enumerate(self._groups.values())
        ]
        heapq.heapify(groups)
        while groups and room():
            order, number, group = groups[0]
            if group.order != order:  # its client has been served from another group meanwhile
                heapq.heapreplace(groups, (group.order, number, group))
                continue
            job = group.first
            cost = assign(job)
            if cost is not None:
                self.remove(job, cost)
            elif group and group.first is job:
                heapq.heappop(groups)
                continue
            if group:
                heapq.heapreplace(groups, (group.order, number, group))
            else:
                heapq.heappop(groups)

    def giving_way(self, job: Job, measure: Measure, size: int) -> Job | None:
        """Return the job that should give way to `job`, see `Shares.most`."""
        return self._shares.most(job, measure, size)

    def groups(self) -> Iterator[Group]:
        """Yield the groups; they may change meanwhile."""
        return iter(list(self._groups.values()))
