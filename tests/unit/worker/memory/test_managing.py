"""What people have a worker do with its models."""

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.answer import answer
from support.models.fake_engine import FakeMemory

UNLOAD, PIN, UNPIN, DELETE = pb.ManageTask.Action.values()[1:]


async def manage(manager, model: str, action: "pb.ManageTask.Action") -> None:
    task = pb.Task(model=model, manage=pb.ManageTask(action=action))
    parts = [part async for part in answer(manager, task)]
    assert [part.final for part in parts] == [True]


def states(manager) -> dict[str, tuple[pb.ModelState, bool]]:
    return {status.name: (status.state, status.pinned) for status in manager.statuses()}


async def test_pinned_model_is_loaded_and_makes_room_for_no_other(new_manager):
    memory = FakeMemory(100, {"a": 40, "b": 40, "c": 40})
    manager = new_manager(memory)
    await manage(manager, "a", PIN)
    assert states(manager)["a"] == (pb.LOADED, True)
    (await manager.lease("b")).release()
    (await manager.lease("c")).release()
    assert [states(manager)[name][0] for name in "abc"] == [pb.LOADED, pb.AVAILABLE, pb.LOADED]
    await manager.unload_idle(0, keep=())
    assert states(manager)["a"] == (pb.LOADED, True)


async def test_what_does_not_fit_beside_pinned_models_is_refused(new_manager):
    memory = FakeMemory(100, {"a": 60, "b": 60})
    manager = new_manager(memory)
    await manage(manager, "a", PIN)
    memory.failures = [TaskError(pb.OUT_OF_MEMORY, "no room")] * 9
    with pytest.raises(TaskError) as refused:
        await manager.lease("b")
    assert refused.value.code == pb.OUT_OF_MEMORY
    memory.failures.clear()
    await manage(manager, "a", UNPIN)
    (await manager.lease("b")).release()
    assert states(manager) == {"a": (pb.AVAILABLE, False), "b": (pb.LOADED, False)}


async def test_model_is_unloaded_once_no_task_runs_on_it(new_manager):
    manager = new_manager(FakeMemory(100, {"a": 40}))
    await manage(manager, "a", PIN)
    lease = await manager.lease("a")
    with pytest.raises(TaskError, match="tasks run on a"):
        await manage(manager, "a", UNLOAD)
    lease.release()
    await manage(manager, "a", UNLOAD)
    assert states(manager)["a"] == (pb.AVAILABLE, False)
    await manage(manager, "a", UNLOAD)


async def test_models_that_were_not_downloaded_are_not_deleted(new_manager):
    manager = new_manager(FakeMemory(100, {"a": 40}))
    await manager.rescan()
    with pytest.raises(TaskError, match="not downloaded"):
        await manage(manager, "a", DELETE)
    with pytest.raises(TaskError) as missing:
        await manage(manager, "other", DELETE)
    assert missing.value.code == pb.MODEL_NOT_FOUND


async def test_a_task_that_says_nothing_is_refused(new_manager):
    manager = new_manager(FakeMemory(100, {"a": 40}))
    with pytest.raises(TaskError) as refused:
        await manage(manager, "a", pb.ManageTask.ACTION_UNSPECIFIED)
    assert refused.value.code == pb.BAD_REQUEST
