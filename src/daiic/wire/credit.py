"""What may go to an address that has not shown that it receives.

Without a key anyone can send in another's name, and a short question with a
long answer would make us a weapon against the owner of that name. So until an
address has acknowledged something we sent, or answered a PING, it gets no
more than a few times the bytes that came from it (RFC 9000, section 8.1).
"""

from daiic.wire.messages import HEADER_SIZE

GREET_AGAIN = 0.3
"""Seconds between the PINGs to an address for which something is held back."""

RESERVE = 3 * HEADER_SIZE
"""Bytes of a credit that no answer may use up, so that a PING can ask for the proof."""


class Credit:
    """The bytes that one address may still get; `held_since` is when they did not suffice."""

    __slots__ = ("_factor", "_greet_at", "held_since", "left")

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._greet_at = 0.0
        self.left = 0
        self.held_since: float | None = None

    def received(self, size: int) -> None:
        """Count a datagram of `size` bytes that came from there."""
        self.left += self._factor * size

    def affords(self, size: int) -> bool:
        """Return whether `size` bytes may go, and take them off."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def held(self, anything: bool, now: float) -> bool:
        """Note whether `anything` is held back; return whether a PING should ask for proof now."""
        if not anything:
            self.held_since = None
            return False
        if self.held_since is None:
            self.held_since = now
        if now < self._greet_at:
            return False
        self._greet_at = now + GREET_AGAIN
        return self.affords(HEADER_SIZE)

    def next_timeout(self) -> float | None:
        """Return when to ask for proof again, `None` if nothing is held back."""
        return None if self.held_since is None else self._greet_at
