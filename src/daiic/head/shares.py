"""Whose turn it is among the clients whose tasks wait.

Workers' time is shared by start-time fair queueing (Goyal, Vin and Cheng,
1996) on two levels: among hosts, and within a host among its clients. A share
has a virtual time, which grows by what its tasks cost when they get a worker;
the share with the least virtual time is next. One that had nothing waiting
starts at the present, so nobody can save up turns.

A client is an address together with what it says in `Task.client`. More ports
or more names gain nothing, as they only divide the host's share; nor does a
larger `Task.weight`, by which a client's virtual time grows more slowly.
"""

from collections.abc import Callable

from daiic.head.job import Job
from daiic.head.limits import LIMITS


class Share:
    """A host, or a client within its `host`.

    A client's `jobs` are those that wait, in the order of arrival. `queued` is
    their number and `bytes` their size; a host's are those of all its clients.
    `served` is the share's virtual time, `clock` the present for its `clients`.
    """

    __slots__ = ("bytes", "clients", "clock", "host", "jobs", "name", "queued", "served")

    def __init__(self, name: str, host: "Share | None") -> None:
        self.name = name
        self.host = host
        self.clients: dict[str, Share] = {}
        self.jobs: dict[int, Job] = {}
        self.queued = 0
        self.bytes = 0
        self.served = 0.0
        self.clock = 0.0

    def client(self, name: str) -> "Share":
        """Return the share of its client with that name."""
        share = self.clients.get(name)
        if share is None:
            if len(self.clients) > LIMITS.idle_shares:
                self._forget_idle()
            share = self.clients[name] = Share(name, self)
        return share

    def _forget_idle(self) -> None:
        idle = [share for share in self.clients.values() if not share.queued]
        idle.sort(key=lambda share: share.served)
        while idle and (idle[0].served <= self.clock or len(idle) > LIMITS.idle_shares):
            del self.clients[idle.pop(0).name]

    def _joins(self, job: Job) -> None:
        if not self.queued and self.host is not None:
            self.served = max(self.served, self.host.clock)
        self.queued += 1
        self.bytes += job.bytes

    def _leaves(self, job: Job) -> None:
        self.queued -= 1
        self.bytes -= job.bytes


Measure = Callable[[Share], int]
"""What a share may have too much of: `queued` or `bytes`."""


class Shares:
    """The shares of all whose tasks wait, or recently did."""

    def __init__(self) -> None:
        self._all = Share("", None)

    def of(self, job: Job) -> Share:
        """Return the share to which `job` belongs."""
        client = job.client
        return self._all.client(client.host).client(f"{client.address[1]} {job.user}")

    def join(self, job: Job) -> Share:
        """Let `job` wait for its turn; return its client's share."""
        share = self.of(job)
        share.jobs[job.number] = job
        for level in self._levels(share):
            level._joins(job)
        return share

    def leave(self, job: Job, share: Share) -> None:
        """Let `job` wait no longer."""
        del share.jobs[job.number]
        for level in self._levels(share):
            level._leaves(job)

    def charge(self, share: Share, cost: float, weight: float = 1.0) -> None:
        """Count `cost`, in seconds of a worker, as served to a client of that weight."""
        for level in self._levels(share):
            above = level.host
            if above is not None:
                above.clock = max(above.clock, level.served)
                level.served += cost / weight
                weight = 1.0  # it is among the clients of one host: hosts have none

    def most(self, job: Job, measure: Measure, size: int) -> Job | None:
        """Return the waiting job that should give way to `job`, which adds `size` to `measure`.

        It is the latest job of the share that has most, and `None` if that is the share of `job`.
        """
        own = self.of(job)
        above = self._all
        for mine in (own.host, own):
            assert mine is not None
            largest = max(above.clients.values(), key=measure)
            if largest is not mine:
                if measure(largest) <= measure(mine) + size:
                    return None
                break
            above = mine
        else:
            return None
        while largest.clients:
            largest = max(largest.clients.values(), key=measure)
        return next(reversed(largest.jobs.values()))

    def _levels(self, share: Share) -> tuple[Share, Share, Share]:
        assert share.host is not None
        return share, share.host, self._all
