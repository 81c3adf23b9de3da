"""A replay window: which of a sender's counters have been seen."""

from array import array

WINDOW = 1024


class ReplayWindow:
    """Accepts each counter once, and none that is `WINDOW` or more behind the highest.

    Slot `counter % WINDOW` holds the last counter accepted there plus one, so
    that moving the window needs no clearing (compare RFC 6479).
    """

    __slots__ = ("_highest", "_slots")

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * WINDOW))
        self._highest = 0

    def accept(self, counter: int) -> bool:
        """Return whether `counter` is new, and remember it."""
        mark = counter + 1
        slot = counter % WINDOW
        if mark + WINDOW <= self._highest or self._slots[slot] >= mark:
            return False
        self._slots[slot] = mark
        if mark > self._highest:
            self._highest = mark
        return True
