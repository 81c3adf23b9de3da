"""The bounded line of tasks that wait for a worker.

Jobs that can run on the same workers stand in one row, first come first
served; a row that has to wait does not hold up the others.
"""

from collections import OrderedDict
from collections.abc import Iterator

from daiic.head.job import Job, Waiting


class Row:
    """Jobs that can run on the same workers.

    `alone_since` is when there was no such worker any more, `None` while
    there is one.
    """

    __slots__ = ("alone_since", "jobs")

    def __init__(self) -> None:
        self.jobs: OrderedDict[int, Job] = OrderedDict()
        self.alone_since: float | None = None

    @property
    def first(self) -> Job:
        """The job that has waited longest."""
        return next(iter(self.jobs.values()))


class WaitingLine:
    """All rows; `len` is the number of jobs in them."""

    def __init__(self) -> None:
        self._rows: dict[Waiting, Row] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def row_of(self, job: Job) -> Row | None:
        """Return the row where `job` stands, or would have to."""
        return self._rows.get(job.waiting)

    def add(self, job: Job, now: float) -> Row:
        """Let `job` wait; one that has been on a worker keeps its place by arrival."""
        row = self._rows.setdefault(job.waiting, Row())
        job.queued_at = now
        late = bool(row.jobs) and next(reversed(row.jobs)) > job.number
        row.jobs[job.number] = job
        if late:
            for number in sorted(row.jobs):
                row.jobs.move_to_end(number)
        self._length += 1
        return row

    def remove(self, job: Job) -> None:
        """Let `job` go; it must be waiting."""
        row = self._rows[job.waiting]
        del row.jobs[job.number]
        self._length -= 1
        if not row.jobs:
            del self._rows[job.waiting]

    def rows(self) -> Iterator[Row]:
        """Yield the rows, the one whose first job is oldest first; they may change meanwhile."""
        rows = list(self._rows.values())
        if len(rows) > 1:
            rows.sort(key=lambda row: row.first.number)
        return iter(rows)
