"""Whether a peer on this machine takes larger datagrams than those that pass every path.

A loopback address shows that the peer is near, not that it takes them: a
forwarder to another machine may listen there, or the socket's buffer may be
small. So a PING of the larger size has to be answered first.
"""

from math import inf

from daiic.wire.address import is_loopback
from daiic.wire.messages import HEADER_SIZE, Address

INTERVAL = 10.0
"""Seconds between two tries."""


class SizeProbe:
    """The tries with one peer; `capacity` is what a larger datagram has for messages, in bytes."""

    __slots__ = ("_address", "_due_at", "_sequence", "capacity")

    def __init__(self, address: Address, capacity: int, now: float) -> None:
        self._address = address
        self._due_at = now
        self._sequence: int | None = None
        self.capacity = capacity

    def due(self, now: float) -> bool:
        """Return whether it is time for a try."""
        if now < self._due_at:
            return False
        if not is_loopback(self._address):
            self._due_at = inf
            return False
        return True

    def padding(self) -> bytes:
        """Return the payload that makes a PING as large as it has to be."""
        return bytes(self.capacity - HEADER_SIZE)

    def sent(self, sequence: int, now: float) -> None:
        """Note that the PING `sequence` left as a try."""
        self._sequence = sequence
        self._due_at = now + INTERVAL

    def answered(self, sequence: int) -> bool:
        """Return whether the answered PING `sequence` was the latest try; then it was the last."""
        if sequence != self._sequence:
            return False
        self._due_at = inf
        return True
