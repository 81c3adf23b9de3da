"""What people have a worker do with one of its models: unload, pin, unpin, delete."""

import structlog

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.memory.manager import ModelManager
from daiic.worker.models.deletion import delete
from daiic.worker.sharding.plan import Plan

log = structlog.get_logger()


async def manage(
    manager: ModelManager, name: str, action: "pb.ManageTask.Action | None", plan: Plan
) -> None:
    """Do `action` with the model `name`; `None` unloads it if nothing uses it, for its head.

    Raises:
        TaskError: if it cannot be done, with what to do about that.
    """
    if action is None:
        await manager.unload(name)
    elif action == pb.ManageTask.UNLOAD:
        await _unload(manager, name)
    elif action == pb.ManageTask.PIN:
        await _pin(manager, name, plan)
    elif action == pb.ManageTask.UNPIN:
        _unpin(manager, name)
    elif action == pb.ManageTask.DELETE:
        await _delete(manager, name)
    else:
        raise TaskError(
            pb.BAD_REQUEST,
            "the task does not say what is to be done with the model",
            "set manage.action to UNLOAD, PIN, UNPIN or DELETE",
        )


async def _unload(manager: ModelManager, name: str) -> None:
    entry = manager.table.get(name)
    if entry is None:
        return
    if entry.in_use or entry.loading is not None:
        raise _in_use(name)
    entry.pinned = False
    await manager.unload(name)


async def _pin(manager: ModelManager, name: str, plan: Plan) -> None:
    lease = await manager.lease(name, plan)
    lease.entry.pinned = True
    lease.release()
    log.info("model pinned", model=lease.entry.name)
    manager.table.tell()


def _unpin(manager: ModelManager, name: str) -> None:
    entry = manager.table.get(name)
    if entry is not None and entry.pinned:
        entry.pinned = False
        log.info("model no longer pinned", model=entry.name)
        manager.table.tell()


async def _delete(manager: ModelManager, name: str) -> None:
    model = manager.on_disk(name)
    if model is None:
        raise TaskError(
            pb.MODEL_NOT_FOUND,
            f"this worker does not have {name}",
            "see `daiic models list` for who has it",
        )
    if not model.downloaded:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} was not downloaded by the worker, so it is not its to delete",
            "delete it from the worker's models folder, or from where its owner keeps it",
        )
    await _unload(manager, model.name)
    freed = await in_thread(lambda: delete(model))
    log.info("model deleted", model=model.name, bytes=freed)
    await manager.forget(model.name)


def _in_use(name: str) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST, f"tasks run on {name}", "wait until they have ended, and try again"
    )
