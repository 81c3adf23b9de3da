"""How long a program has done nothing, told by the processor time that it takes."""

import time
from collections.abc import Callable

LEAST = 0.01
"""Share of a core below which it does nothing: one that waits wakes up now and then, too."""


class Standstill:
    """Watches one program, if it is looked at now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._worked = 0.0

    def step(self) -> None:
        """Note that it has done something now."""
        self._since = self._clock()

    def look(self, processor_seconds: float) -> float:
        """Return the seconds since it last did something; it has taken so much time in all."""
        now = self._clock()
        if processor_seconds < self._worked:  # another was started in its place
            self._since, self._worked = now, 0.0
        if processor_seconds - self._worked > LEAST * (now - self._since):
            self._since = now
            self._worked = processor_seconds
        return now - self._since
