"""Which job is on which worker, and what workers are told about it.

Each time a job is assigned to a worker is an attempt, with an id of its own
under which that worker knows it.
"""

import os
import struct
from collections.abc import Callable

from daiic.head.job import Job
from daiic.head.link import Link
from daiic.head.shared_model import Process
from daiic.head.worker import Worker
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import Address, MessageType


class Assignments:
    """All jobs that are on workers, by attempt id.

    `early_bytes` is the size of those parts of their answers that wait for an
    earlier one.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._jobs: dict[int, Job] = {}
        self._count = 0
        self.early_bytes = 0
        self._ids = _Ids()

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, attempt: int) -> Job | None:
        """Return the job that runs as `attempt`."""
        return self._jobs.get(attempt)

    def of(self, worker: Worker) -> list[Job]:
        """Return the jobs on `worker`."""
        return [self._jobs[attempt] for attempt in worker.attempts]

    def with_part_on(self, process: Process) -> list[Job]:
        """Return the jobs on workers that lead a group which `process` is in."""
        return [
            job
            for job in self._jobs.values()
            if job.group is not None and process in job.group.processes
        ]

    def assign(self, job: Job, worker: Worker) -> bool:
        """Send `job` to `worker`; return false if there is no room for the message."""
        # Nobody but its worker can name an attempt.
        attempt = self._ids.draw()
        job.answer.task.id = attempt
        if self._link.send(worker.address, MessageType.TASK, job.encoded()) is None:
            return False
        self._count += 1
        job.attempt = attempt
        job.attempts += 1
        job.worker = worker
        self._jobs[attempt] = job
        worker.attempts.add(attempt)
        if job.group is not None:
            job.group.running += 1
        worker.last_assignment = self._count
        worker.began(job.model)
        return True

    def release(self, job: Job) -> Worker:
        """Take `job`, which has ended there, off its worker, and return that."""
        worker = job.worker
        assert worker is not None
        job.worker = None
        job.missed = False
        self.early_bytes -= job.answer.early_bytes
        job.answer.drop_early()
        del self._jobs[job.attempt]
        worker.attempts.remove(job.attempt)
        if job.group is not None:
            job.group.running -= 1
        return worker

    def accept(self, job: Job, part: pb.Result) -> pb.Result | None:
        """Add a part to the answer to `job`, see `AnswerOrder.accept`."""
        return self._counted(job, lambda: job.answer.accept(part))

    def follow(self, job: Job) -> pb.Result | None:
        """Return the next part of the answer to `job`, see `AnswerOrder.follow`."""
        return self._counted(job, job.answer.follow)

    def _counted(self, job: Job, step: Callable[[], pb.Result | None]) -> pb.Result | None:
        before = job.answer.early_bytes
        try:
            return step()
        finally:
            self.early_bytes += job.answer.early_bytes - before

    def earliest(self) -> Job:
        """Return the job whose parts take most of `early_bytes`."""
        return max(self._jobs.values(), key=lambda job: job.answer.early_bytes)

    def recall(self, job: Job) -> None:
        """Take `job` off its worker and tell the worker to stop."""
        self.stop(self.release(job).address, job.attempt)

    def unload(self, worker: Worker, model: str) -> None:
        """Have `worker` take `model` out of memory; whether it does, its heartbeats tell."""
        task = pb.Task(id=self._ids.draw(), model=model, unload=pb.UnloadTask())
        self._link.send(worker.address, MessageType.TASK, task.SerializeToString())

    def stop(self, worker: Address, attempt: int) -> None:
        """Tell the worker at that address that nobody wants `attempt` any more."""
        self._link.send(worker, MessageType.CANCEL, pb.Cancel(id=attempt).SerializeToString())


class _Ids:
    """Random ids of 64 bits; asking the system for each one alone would be slow."""

    AT_ONCE = 512

    def __init__(self) -> None:
        self._drawn: list[int] = []

    def draw(self) -> int:
        """Return an id that nobody can guess, and that is not 0."""
        if not self._drawn:
            self._drawn.extend(struct.unpack(f"{self.AT_ONCE}Q", os.urandom(8 * self.AT_ONCE)))
        return self._drawn.pop() or self.draw()
