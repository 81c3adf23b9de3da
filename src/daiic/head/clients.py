"""Who has given the head tasks, and which tasks it knows of each.

A client repeats a task about which it hears nothing, so ids are remembered
for a while after their task is over.
"""

from daiic.head.dialect import Answer
from daiic.head.job import Job
from daiic.head.limits import HeadLimits
from daiic.head.link import Link
from daiic.head.shares import host_of
from daiic.wire.messages import Address
from daiic.wire.sequence import RecentSequences

REMEMBERED = 60.0
"""Seconds for which the id of a finished task is known at least, if they are not too many."""


class Client:
    """Whoever is at `address`; `jobs` by id are those not over yet, `known` all lately.

    `host` is the machine it is on. `answers_pings` is set once it has answered
    one; simple clients never do.
    """

    __slots__ = ("address", "answers_pings", "host", "jobs", "known", "seen_at")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.host = host_of(address)
        self.jobs: dict[int, Job] = {}
        self.known = RecentSequences(lifetime=REMEMBERED)
        self.answers_pings = False
        self.seen_at = 0.0

    def conclude(self, task_id: int, answer: Answer, link: Link) -> None:
        """Send the last that there is to say about a task.

        If there is no room for it, the client may ask again.
        """
        if link.send(self.address, *answer) is None:
            self.known.discard(task_id)


class Clients:
    """All addresses that have sent something lately."""

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._clients: dict[Address, Client] = {}

    def waiting(self) -> list[Client]:
        """Return those with tasks that are not over."""
        return [client for client in self._clients.values() if client.jobs]

    def get(self, address: Address) -> Client | None:
        """Return what is known of `address`."""
        return self._clients.get(address)

    def forget(self, address: Address) -> Client | None:
        """Return what was known of `address`, and know nothing of it any more."""
        return self._clients.pop(address, None)

    def heard(self, address: Address, now: float) -> Client:
        """Return the client at `address`, which has just sent something."""
        client = self._clients.get(address)
        if client is None:
            if len(self._clients) >= self._limits.clients:
                self._make_room()
            client = self._clients[address] = Client(address)
        client.seen_at = now
        return client

    def _make_room(self) -> None:
        idle = next((c for c in self._clients.values() if not c.jobs), None)
        if idle is not None:
            del self._clients[idle.address]

    def remember(self, client: Client, task_id: int, now: float) -> None:
        """Know `task_id` of `client` from now on; each one's part of the memory is alike."""
        client.known.capacity = max(self._limits.remembered_ids // len(self._clients), 1)
        client.known.add(task_id, now)

    def expire(self, now: float) -> None:
        """Forget those without a task who have been silent for `REMEMBERED`."""
        oldest = now - REMEMBERED
        for address, client in list(self._clients.items()):
            if client.seen_at < oldest and not client.jobs:
                del self._clients[address]
