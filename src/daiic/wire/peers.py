"""The peers of an endpoint from beginning to end: who is known, trusted, given up, forgotten."""

from collections.abc import Iterable

from daiic.wire.counters import Counters
from daiic.wire.credit import Credit
from daiic.wire.events import Event, Unreachable
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import Address
from daiic.wire.peer import Peer
from daiic.wire.timeouts import Timeouts


class Peers(dict[Address, Peer]):
    """Peers by address; those that have acknowledged nothing yet give way to others.

    With `validate_addresses` they have a `Credit` until then, unless they are trusted.
    `touched` are those that may have something to send. Peers that are given
    up are told of in `events`.
    """

    def __init__(
        self,
        limits: Limits,
        overhead: int,
        memory: MemoryUse,
        counters: Counters,
        validate_addresses: bool,
        events: list[Event],
    ) -> None:
        super().__init__()
        self.touched: dict[Address, Peer] = {}
        self._capacities: dict[Address, int] = {}
        self._limits = limits
        self._overhead = overhead
        self._memory = memory
        self._counters = counters
        self._validate_addresses = validate_addresses
        self._events = events
        self._unproven: dict[Address, Peer] = {}
        self._trusted: frozenset[Address] = frozenset()
        self._timeouts = Timeouts()
        self._sweep_at = 0.0

    # ------------------------------------------------------------- beginning

    def open(self, address: Address, now: float) -> Peer:
        """Return the new peer at `address`, to whom we write first."""
        self._make_room()  # a peer that the application chose is known in any case
        return self._add(address, now, opened=True)

    def admit(self, address: Address, now: float) -> Peer | None:
        """Return the new peer at `address`, who wrote to us; `None` if there are too many."""
        if self._make_room():
            return self._add(address, now, opened=False)
        self._counters.dropped_peer_limit += 1
        return None

    def _add(self, address: Address, now: float, opened: bool) -> Peer:
        credit = None
        if self._validate_addresses and address not in self._trusted:
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
        if address in self._capacities:
            peer.outbox.capacity = self._capacities[address]
        self[address] = self._unproven[address] = peer
        return peer

    def _make_room(self) -> bool:
        """Return whether one more peer may be known, if need be instead of an unproven one."""
        if len(self) < self._limits.max_peers:
            return True
        oldest = next(iter(self._unproven.values()), None)
        if oldest is None:
            return False
        if self._validate_addresses or not oldest.outbox.idle():
            self._give_up(oldest)
        self.forget(oldest.address)
        return True

    def set_path(self, address: Address, size: int | None, now: float) -> None:
        """Reach `address` with datagrams of `size` bytes; `None`: as any other peer."""
        capacity = (size or self._limits.path_mtu) - self._overhead
        if size is None:
            self._capacities.pop(address, None)
        else:
            self._capacities[address] = capacity
        peer = self.get(address)
        if peer is not None:
            peer.outbox.set_path(capacity, size is None, now)
            self.touched[address] = peer

    # ----------------------------------------------------------------- trust

    def trust(self, addresses: Iterable[Address]) -> None:
        """Give those at `addresses`, and nobody else, no credit to keep to."""
        self._trusted = frozenset(addresses)
        for address in self._trusted & self.keys():
            self[address].credit = None

    def prove(self, peer: Peer) -> None:
        """Note that `peer` has received something from us."""
        if not peer.proven:
            peer.proven = True
            peer.credit = None
            del self._unproven[peer.address]

    # ------------------------------------------------------------------ time

    def schedule(self, peer: Peer) -> None:
        """Have `peer` touched again when it is due."""
        self._timeouts.schedule(peer, peer.next_timeout())

    def next_timeout(self) -> float | None:
        """Return when to call `expire` next, or `None`."""
        if not self:
            return None
        at = self._timeouts.next()
        return self._sweep_at if at is None else min(at, self._sweep_at)

    def expire(self, now: float) -> None:
        """Touch the peers that are due, give up the silent ones, forget the unused ones."""
        for peer in self._timeouts.take_due(now):
            if peer.silent_too_long(now, self._limits.give_up):
                self._give_up(peer)
            self.touched[peer.address] = peer
        if now >= self._sweep_at:
            self._sweep_at = now + self._limits.reassembly_timeout / 4
            for peer in list(self.values()):
                peer.inbox.expire(now)
                if peer.unused(now):
                    self.forget(peer.address)

    # ------------------------------------------------------------------- end

    def _give_up(self, peer: Peer) -> None:
        self._counters.unreachable += 1
        if peer.credit is not None:
            peer.credit.held_since = None
            peer.inbox.forget_recent()  # what it repeats is done again, not dropped as known
        self._events.append(Unreachable(peer.address, peer.outbox.clear()))

    def forget(self, address: Address) -> None:
        """Drop all that is known about a peer, and what was to be sent to it."""
        peer = self.pop(address, None)
        self._unproven.pop(address, None)
        self.touched.pop(address, None)
        if peer is not None:
            peer.timeout = None
            peer.inbox.clear()
            peer.outbox.clear()
