"""Time in which this process was running.

A process that was stopped (SIGSTOP, a suspended virtual machine, a long wait
for a processor) finds, when it goes on, that everyone has been silent: what
they sent still waits in its socket. So whatever judges others by their
silence reads this clock, which does not count the pauses of this process.
"""

import time
from collections.abc import Callable

BEAT = 0.5
"""Seconds between two readings at most, while the process runs."""

PAUSE = 1.0
"""Seconds without a reading that count as a pause."""


class RunningClock:
    """A monotonic clock in seconds that stands still while this process does.

    Somebody has to read it every `BEAT`. `paused` is how many seconds it has
    left out so far.
    """

    __slots__ = ("_read_at", "_source", "paused")

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._read_at = source()
        self.paused = 0.0

    def __call__(self) -> float:
        """Return the time; it never goes back."""
        at = self._source()
        gap = at - self._read_at
        self._read_at = at
        if gap > PAUSE:
            self.paused += gap
        return at - self.paused
