"""Whose turn it is among those whose tasks wait.

Workers' time is shared by start-time fair queueing (Goyal, Vin and Cheng,
1996) on two levels: among hosts, and within a host among its clients. A share
has a virtual time, which grows by what its tasks cost when they get a worker;
the one that is behind the others is next. One that comes anew starts at the
present, so nobody saves up turns.

A client is an address and what it says in `Task.client`. Nobody can gain by
more ports or more names, as those only divide his host's share.
"""

import ipaddress
from collections.abc import Callable

from daiic.head.job import Job
from daiic.head.limits import LIMITS
from daiic.wire.messages import Address


class Share:
    """A host, or a client within its `host`.

    `jobs` are those that wait, of a client, in the order of arrival; `queued`
    is their number and `bytes` their size, of a host those of all its clients.
    `served` is its virtual time; `clock` is the present one of its `clients`.
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
        """Return the share of the one of its clients with that name."""
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
"""What somebody may have too much of: `queued` or `bytes`."""


class Shares:
    """The shares of everybody whose tasks wait, or lately did."""

    def __init__(self) -> None:
        self._all = Share("", None)

    def of(self, job: Job) -> Share:
        """Return the share to which `job` belongs."""
        client = job.client
        return self._all.client(client.host).client(f"{client.address[1]} {job.asker}")

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

    def charge(self, share: Share, cost: float) -> None:
        """Count `cost`, in seconds of a worker, as served to a client."""
        for level in self._levels(share):
            above = level.host
            if above is not None:
                above.clock = max(above.clock, level.served)
                level.served += cost

    def most(self, job: Job, measure: Measure, size: int) -> Job | None:
        """Return the waiting job that should make room for `job`, which adds `size` to `measure`.

        It is the latest of who has most, and `None` if that is who sends `job`.
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


def host_of(address: Address) -> str:
    """Return what the addresses of one host have in common; of IPv6, that is its /64 network."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if ip.version == 4:
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))
