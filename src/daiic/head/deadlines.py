"""When jobs have to be over, the soonest first."""

import heapq
from collections.abc import Callable, Iterator

from daiic.head.job import Job

STALE = 64


class Deadlines:
    """A heap from which jobs that are over are cleaned only when they are in the majority.

    A client that waits for an answer goes on waiting while this process is stopped,
    so the seconds that the clock leaves out, as `paused` tells, count here.
    """

    def __init__(self, paused: Callable[[], float]) -> None:
        self._paused = paused
        self._heap: list[tuple[float, int, Job]] = []

    def add(self, job: Job, jobs: int) -> None:
        """Watch `job`, one of `jobs` that are not over."""
        heapq.heappush(self._heap, (job.deadline + self._paused(), job.number, job))
        if len(self._heap) > 2 * jobs + STALE:
            self._heap = [entry for entry in self._heap if not entry[2].over]
            heapq.heapify(self._heap)

    def missed(self, now: float) -> Iterator[Job]:
        """Yield the jobs that should be over at `now`, and watch them no longer."""
        now += self._paused()
        while self._heap and self._heap[0][0] <= now:
            job = heapq.heappop(self._heap)[2]
            if not job.over:
                yield job
