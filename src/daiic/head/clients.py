"""The clients that have given the head tasks, and which tasks it knows of each.

A client repeats a task about which it hears nothing, so the head remembers
ids for a while after their tasks have ended.
"""

import ipaddress

from daiic.head.dialect import Answer
from daiic.head.limits import HeadLimits
from daiic.head.link import Link
from daiic.wire.messages import Address
from daiic.wire.sequence import RecentSequences

REMEMBERED = 60.0
"""Seconds for which the id of a finished task is known at least, unless there are too many."""


class Client:
    """The client at `address`, on the machine `host`.

    `unfinished` has the numbers of its jobs that are not over, by their ids;
    `known` are the ids of all its recent tasks. `answers_pings` is set once it has answered a PING;
    simple clients never do.
    """

    __slots__ = ("address", "answers_pings", "host", "known", "seen_at", "unfinished")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.host = host_of(address)
        self.unfinished: dict[int, int] = {}
        self.known = RecentSequences(lifetime=REMEMBERED)
        self.answers_pings = False
        self.seen_at = 0.0

    def conclude(self, task_id: int, answer: Answer, link: Link) -> None:
        """Send the last message about a task.

        If there is no room for it, the client may ask again.
        """
        if link.send(self.address, *answer) is None:
            self.known.discard(task_id)


class Clients:
    """All addresses that have sent something recently."""

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._clients: dict[Address, Client] = {}

    def waiting(self) -> list[Client]:
        """Return those with unfinished tasks."""
        return [client for client in self._clients.values() if client.unfinished]

    def get(self, address: Address) -> Client | None:
        """Return what is known of `address`."""
        return self._clients.get(address)

    def forget(self, address: Address) -> Client | None:
        """Forget `address` and return what was known of it."""
        return self._clients.pop(address, None)

    def heard(self, address: Address, now: float) -> Client:
        """Return the client at `address`, which has just sent something."""
        client = self._clients.get(address)
        if client is None:
            if len(self._clients) >= self._limits.clients:
                self._forget_one()
            client = self._clients[address] = Client(address)
        client.seen_at = now
        return client

    def _forget_one(self) -> None:
        idle = next((c for c in self._clients.values() if not c.unfinished), None)
        if idle is not None:
            del self._clients[idle.address]

    def remember(self, client: Client, task_id: int, now: float) -> None:
        """Know `task_id` of `client` from now on; all clients get an equal part of the memory."""
        client.known.capacity = max(self._limits.remembered_ids // len(self._clients), 1)
        client.known.add(task_id, now)

    def expire(self, now: float) -> None:
        """Forget clients without an unfinished task that have been silent for `REMEMBERED`."""
        oldest = now - REMEMBERED
        for address, client in list(self._clients.items()):
            if client.seen_at < oldest and not client.unfinished:
                del self._clients[address]


def host_of(address: Address) -> str:
    """Return what the addresses of one host have in common; for IPv6, that is its /64 network."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if ip.version == 4:
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))
