"""What the head counts, cheap enough to do for every task; `metrics` shows it."""

from bisect import bisect_left
from collections import Counter

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Durations:
    """A histogram of seconds; `counts` are of the buckets up to each of `BOUNDS`, then above."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class Statistics:
    """Totals since start.

    `outcomes` counts tasks by kind of work and by how they ended: "DONE" or
    the name of an error. `moved` counts how often a task was taken from a
    worker and given to another; `refused_heartbeats` came from workers beyond
    what is kept, `foreign` RESULTs and ERRORs from elsewhere than the task's
    worker. `read_before` counts tasks that were given to a worker which had read
    the beginning of their prompt, `prompt_tokens` what prompts had by their answers, of
    which `cached_tokens` were not read again. `patient` counts tasks that waited for such a
    worker though another was free, `rewarded` those of them that got it.
    """

    __slots__ = (
        "cached_tokens",
        "foreign",
        "malformed",
        "moved",
        "outcomes",
        "patient",
        "prompt_tokens",
        "queued",
        "read_before",
        "refused_heartbeats",
        "repeated",
        "rewarded",
        "total",
    )

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.moved = 0
        self.repeated = 0
        self.malformed = 0
        self.refused_heartbeats = 0
        self.foreign = 0
        self.read_before = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.patient = 0
        self.rewarded = 0
        self.queued = Durations()
        self.total = Durations()

    def count_outcome(self, work: str, outcome: str) -> None:
        """Count a task of that kind of work that ended so; workers may send any code."""
        key = work, outcome
        if key not in self.outcomes and len(self.outcomes) >= MOST_OUTCOMES:
            key = work, OTHER
        self.outcomes[key] += 1

    @property
    def done(self) -> int:
        """Tasks that were answered; questions for the status are not counted."""
        return sum(
            count
            for (work, outcome), count in self.outcomes.items()
            if outcome == DONE and work != STATUS
        )

    @property
    def failed(self) -> int:
        """Tasks that ended with an error; cancelled ones are neither."""
        return sum(n for (_, outcome), n in self.outcomes.items() if outcome not in _NOT_FAILED)


DONE = "DONE"
CANCELLED = "CANCELLED"
STATUS = "status"
"""As a kind of work: the head answers it itself."""
OTHER = "OTHER"
"""Outcomes beyond those that are counted apart."""
MOST_OUTCOMES = 512
_NOT_FAILED = (DONE, CANCELLED)
