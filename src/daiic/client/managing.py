"""Has workers do something with one of their models, one after the other."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from daiic.client.task_client import TaskClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

Action = pb.ManageTask.Action
PATIENCE = 60_000
"""Milliseconds for what takes a worker a moment; to pin a model, it may have to be loaded."""
PIN_PATIENCE = 1_800_000


@dataclass(frozen=True, slots=True)
class Managed:
    """What became of it on one worker; `error` is `None` where it was done."""

    worker_id: str
    name: str
    error: TaskError | None


async def manage(
    cluster: TaskClient,
    status: pb.ClusterStatus,
    model: str,
    action: Action,
    workers: Collection[str] = (),
) -> AsyncIterator[Managed]:
    """Do `action` with `model` on all that have it by `status`, or on those of `workers` alone.

    Raises:
        TaskError: MODEL_NOT_FOUND if no worker, or none of these, has it; before anything is done.
    """
    having = [
        worker.heartbeat
        for worker in status.workers
        if (not workers or worker.heartbeat.worker_id in workers)
        and any(_concerns(known, model, action) for known in worker.heartbeat.models)
    ]
    if not having:
        raise TaskError(
            pb.MODEL_NOT_FOUND,
            f"no worker {'that was named ' if workers else ''}has {model}"
            + (" from a download" if action == pb.ManageTask.DELETE else ""),
            "see `daiic models list`",
        )
    for worker in having:
        task = pb.Task(
            model=model,
            worker_id=worker.worker_id,
            deadline_ms=PIN_PATIENCE if action == pb.ManageTask.PIN else PATIENCE,
            manage=pb.ManageTask(action=action),
        )
        try:
            await cluster.answer(task)
        except TaskError as error:
            yield Managed(worker.worker_id, worker.name, error)
        else:
            yield Managed(worker.worker_id, worker.name, None)


def _concerns(known: pb.ModelStatus, model: str, action: Action) -> bool:
    """Return whether `action` would change what a worker has."""
    if known.name != model:
        return False
    if action == pb.ManageTask.DELETE:
        return known.downloaded
    if action == pb.ManageTask.UNPIN:
        return known.pinned
    return action != pb.ManageTask.UNLOAD or known.state == pb.LOADED
