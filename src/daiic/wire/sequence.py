"""Sequence numbers: 32 bits that wrap, and the memory of those seen lately."""

SEQUENCE_MASK = 0xFFFFFFFF

REMEMBERED = 4096
"""How many of a peer's latest messages are recognised when they come again, at the least."""


def following(sequence: int, steps: int = 1) -> int:
    """Return the sequence number `steps` after `sequence`, past the wrap if need be."""
    return (sequence + steps) & SEQUENCE_MASK


def distance(start: int, end: int) -> int:
    """Return how many steps lead from `start` forward to `end`."""
    return (end - start) & SEQUENCE_MASK


class RecentSequences:
    """Remembers sequence numbers long enough to recognise a retransmission.

    Two generations of sets: the younger one becomes the older when it holds
    `capacity` numbers or is `lifetime` seconds old. No order is assumed, so a
    peer that restarts at another number is not mistaken for its old self. A
    sender has fewer than `capacity` messages unacknowledged, so none that it
    may repeat is forgotten.
    """

    __slots__ = ("_lifetime", "_older", "_since", "_younger", "capacity")

    def __init__(self, capacity: int = REMEMBERED, lifetime: float = 60.0) -> None:
        self.capacity = capacity
        self._lifetime = lifetime
        self._younger: set[int] = set()
        self._older: set[int] = set()
        self._since = 0.0

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._younger or sequence in self._older

    def add(self, sequence: int, now: float) -> None:
        """Remember `sequence`, seen at `now`."""
        if not self._younger:
            self._since = now
        elif len(self._younger) >= self.capacity or now - self._since > self._lifetime:
            self._older = self._younger
            self._younger = set()
            self._since = now
        self._younger.add(sequence)

    def clear(self) -> None:
        """Forget all."""
        self._younger.clear()
        self._older.clear()

    def discard(self, sequence: int) -> None:
        """Forget `sequence`."""
        self._younger.discard(sequence)
        self._older.discard(sequence)
