"""The table of an endpoint's peers: who is known, who is trusted, who makes room."""

from collections.abc import Iterable

from daiic.wire.counters import Counters
from daiic.wire.credit import Credit
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import Address
from daiic.wire.peer import Peer


class Peers(dict[Address, Peer]):
    """Peers by address; those that have acknowledged nothing yet give way to others.

    In a `wary` table they have a `Credit` until then, unless they are trusted.
    """

    def __init__(
        self, limits: Limits, overhead: int, memory: MemoryUse, counters: Counters, wary: bool
    ) -> None:
        super().__init__()
        self.wary = wary
        self._limits = limits
        self._overhead = overhead
        self._memory = memory
        self._counters = counters
        self._unproven: dict[Address, Peer] = {}
        self._trusted: frozenset[Address] = frozenset()

    def add(self, address: Address, now: float, opened: bool) -> Peer:
        """Return the new peer at `address`; `opened` says that we write first."""
        credit = None
        if self.wary and address not in self._trusted:
            credit = Credit(self._limits.amplification)
        peer = Peer(
            address,
            self._limits,
            self._overhead,
            self._memory,
            self._counters,
            now,
            opened,
            credit,
        )
        self[address] = self._unproven[address] = peer
        return peer

    def trust(self, addresses: Iterable[Address]) -> None:
        """Give those at `addresses`, and nobody else, no credit to keep to."""
        self._trusted = frozenset(addresses)
        for address in self._trusted & self.keys():
            self[address].credit = None

    def prove(self, peer: Peer) -> None:
        """Take in that `peer` has received something from us."""
        if not peer.proven:
            peer.proven = True
            peer.credit = None
            del self._unproven[peer.address]

    def remove(self, address: Address) -> Peer | None:
        """Forget and return the peer at `address`, if there is one."""
        self._unproven.pop(address, None)
        return self.pop(address, None)

    @property
    def full(self) -> bool:
        """Whether there are as many as may be."""
        return len(self) >= self._limits.max_peers

    @property
    def oldest_unproven(self) -> Peer | None:
        """The first to make room."""
        return next(iter(self._unproven.values()), None)
