"""How soon one of the tasks of a worker should end, by how long its last ones took."""

from math import inf

WEIGHT = 1 / 8
"""Of the last task in the mean."""


class Turnaround:
    """What one worker takes for a task that this head gives it, whatever that is; in seconds."""

    __slots__ = ("_mean", "_turned_at")

    def __init__(self) -> None:
        self._mean: float | None = None
        self._turned_at = 0.0

    def began(self, now: float) -> None:
        """Note that the worker has got a task."""
        self._turned_at = now

    def ended(self, seconds: float, now: float) -> None:
        """Note that one of its tasks is done, which took so long."""
        if self._mean is None:
            self._mean = seconds
        else:
            self._mean += (seconds - self._mean) * WEIGHT
        self._turned_at = now

    def next_end(self, load: int, now: float) -> float:
        """Return in how many seconds the first of `load` tasks there should end; `inf` if unknown.

        Lengths of answers differ so much that how long a task has run already says little: tasks
        are taken to end as independently as atoms decay, so the first of many ends after the
        mean over their number. When nothing has begun or ended for longer than that, this
        is none of its usual tasks, and may take as long again.
        """
        if self._mean is None:
            return inf
        return max(self._mean / load, now - self._turned_at)
