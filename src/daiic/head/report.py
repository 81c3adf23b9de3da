"""The head's view of the cluster, as StatusTask asks for it."""

import time
from collections.abc import Iterator
from itertools import islice

from daiic.head.dispatcher import Dispatcher
from daiic.head.statistics import Statistics
from daiic.shown import shown
from daiic.version import VERSION
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address

MOST_TASKS = 1000
"""Tasks that a status tells of, the oldest first."""


def status_of(
    dispatcher: Dispatcher, statistics: Statistics, asked: pb.StatusTask, now: float
) -> pb.ClusterStatus:
    """Return the state of everything the head knows, with the tasks if they are `asked` for."""
    return pb.ClusterStatus(
        workers=[
            pb.WorkerStatus(
                heartbeat=worker.heartbeat,
                address=format_address(worker.address),
                age_ms=int((now - worker.seen_at) * 1000),
                in_flight=len(worker.attempts),
                rtt_ms=(worker.rtt or 0.0) * 1000,
            )
            for worker in sorted(dispatcher.workers, key=lambda worker: worker.heartbeat.name)
        ],
        queued=len(dispatcher.queue),
        queue_size=dispatcher.policy.queue_size,
        in_flight=dispatcher.in_flight,
        tasks_done=statistics.done,
        tasks_failed=statistics.failed,
        tasks_moved=statistics.moved,
        uptime_s=int(now - dispatcher.started_at),
        timestamp_us=time.time_ns() // 1000,
        version=VERSION,
        tasks=islice(_tasks(dispatcher, now), MOST_TASKS) if asked.tasks else (),
    )


def _tasks(dispatcher: Dispatcher, now: float) -> Iterator[pb.TaskStatus]:
    for job in dispatcher.jobs.values():
        yield pb.TaskStatus(
            number=job.number,
            kind=job.kind.name,
            model=shown(job.model),
            worker_id=job.worker.id if job.worker is not None else "",
            age_ms=int((now - job.arrived_at) * 1000),
            attempts=job.attempts,
            awaits_worker_id=job.awaits.id if job.awaits is not None else "",
        )
