"""A replay window: which of a sender's counters have been seen."""

WINDOW = 16384


class ReplayWindow:
    """Accepts each counter once, and none that is `WINDOW` or more behind the highest.

    Bit `counter % WINDOW` tells whether that counter has been seen; the bits
    that the window moves over are cleared.
    """

    __slots__ = ("_next", "_seen")

    def __init__(self) -> None:
        self._seen = bytearray(WINDOW // 8)
        self._next = 0  # the highest counter accepted, plus one

    def accept(self, counter: int) -> bool:
        """Return whether `counter` is new, and remember it."""
        if counter + WINDOW < self._next:
            return False
        seen = self._seen
        byte, bit = counter % WINDOW >> 3, 1 << (counter & 7)
        skipped = counter - self._next
        if skipped < 0 and seen[byte] & bit:
            return False
        if skipped > 0:
            self._clear(skipped)
        if skipped >= 0:
            self._next = counter + 1
        seen[byte] |= bit
        return True

    def _clear(self, skipped: int) -> None:
        if skipped >= WINDOW:
            self._seen[:] = bytes(WINDOW // 8)
            return
        for counter in range(self._next, self._next + skipped):
            self._seen[counter % WINDOW >> 3] &= ~(1 << (counter & 7))
