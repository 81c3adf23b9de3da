"""When jobs have to be over, or have waited long enough, the soonest first."""

import heapq
from collections.abc import Callable, Iterator, Mapping

from daiic.head.job import Job

STALE = 64


class Deadlines:
    """A heap of times and of the numbers of jobs, so that it keeps none which is gone from `jobs`.

    Their numbers are cleaned from it only when they are in the majority. A client that waits for
    an answer goes on waiting while this process is stopped, so the seconds that the clock leaves
    out, as `paused` tells, count here.
    """

    def __init__(self, paused: Callable[[], float], jobs: Mapping[int, Job]) -> None:
        """`jobs` are all for which the time still matters, by their numbers."""
        self._paused = paused
        self._jobs = jobs
        self._heap: list[tuple[float, int]] = []

    def add(self, job: Job, time: float) -> None:
        """Watch `job` until `time`."""
        heapq.heappush(self._heap, (time + self._paused(), job.number))
        if len(self._heap) > 2 * len(self._jobs) + STALE:
            self._heap = [entry for entry in self._heap if entry[1] in self._jobs]
            heapq.heapify(self._heap)

    def missed(self, now: float) -> Iterator[Job]:
        """Yield the jobs whose time has passed at `now`, and watch them no longer."""
        now += self._paused()
        while self._heap and self._heap[0][0] <= now:
            job = self._jobs.get(heapq.heappop(self._heap)[1])
            if job is not None:
                yield job
