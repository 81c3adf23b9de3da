"""Which models are in memory, and which leave."""

import asyncio
import contextlib

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.copies import Copies
from daiic.worker.engines.interface import EngineOutOfMemory
from support.models.fake_engine import FakeMemory


def states(manager):
    return {status.name: status.state for status in manager.statuses()}


async def test_tasks_that_want_the_same_model_share_one_load(new_manager):
    memory = FakeMemory(100, {"a": 10})
    memory.load_takes = 0.01
    manager = new_manager(memory)
    leases = await asyncio.gather(*(manager.lease("a") for _ in range(20)))
    assert memory.loads == ["a"]
    assert len({id(lease.engine) for lease in leases}) == 1


async def test_models_stay_side_by_side_while_memory_allows(new_manager):
    memory = FakeMemory(100, {"a": 40, "b": 40})
    manager = new_manager(memory)
    (await manager.lease("a")).release()
    (await manager.lease("b")).release()
    (await manager.lease("a")).release()
    assert memory.loads == ["a", "b"]
    assert manager.table.held == 80


async def test_least_recently_used_model_leaves_first(new_manager):
    memory = FakeMemory(100, {"a": 40, "b": 40, "c": 40})
    manager = new_manager(memory)
    for name in ("a", "b", "a"):
        (await manager.lease(name)).release()
    (await manager.lease("c")).release()
    assert states(manager) == {"a": pb.LOADED, "b": pb.AVAILABLE, "c": pb.LOADED}
    assert memory.engines[1].closed


async def test_what_heads_are_told_that_a_model_needs_is_the_same_once_it_was_loaded(new_manager):
    manager = new_manager(FakeMemory(100, {"a": 40}))
    await manager.rescan()
    needs = {status.name: status.needs for status in manager.statuses()}
    (await manager.lease("a")).release()
    assert {status.name: status.needs for status in manager.statuses()} == needs


async def test_further_copies_leave_before_any_model(new_manager):
    memory = FakeMemory(100, {"a": 40, "b": 40})
    load = memory.load

    async def load_copies(model, budget, progress):
        async def another(cards):
            return 1, await load(model, budget, progress)

        return Copies(model.name, await load(model, budget, progress), 0, {1}, another)

    memory.load = load_copies
    manager = new_manager(memory)
    lease = await manager.lease("a")
    async with contextlib.aclosing(lease.engine.run(pb.Task(text=pb.TextTask()))) as first:
        await anext(first)
        async for _ in lease.engine.run(pb.Task(text=pb.TextTask())):
            pass
    assert manager.table.held == 80
    (await manager.lease("b")).release()
    assert states(manager) == {"a": pb.LOADED, "b": pb.LOADED}
    assert (memory.loads, manager.table.held) == (["a", "a", "b"], 80)
    lease.release()


async def test_model_in_use_leaves_only_after_its_task(new_manager):
    memory = FakeMemory(100, {"a": 60, "b": 60})
    manager = new_manager(memory)
    held = await manager.lease("a")
    coming = asyncio.create_task(manager.lease("b"))
    await asyncio.sleep(0.05)
    assert not coming.done() and not held.engine.closed
    held.release()
    lease = await asyncio.wait_for(coming, 1)
    assert lease.engine.model.name == "b" and memory.engines[0].closed


async def test_model_that_waits_for_room_is_not_starved_by_new_tasks(new_manager):
    memory = FakeMemory(100, {"a": 60, "b": 60})
    manager = new_manager(memory)
    held = await manager.lease("a")
    coming = asyncio.create_task(manager.lease("b"))
    await asyncio.sleep(0.05)
    later = asyncio.create_task(manager.lease("a"))
    await asyncio.sleep(0.05)
    assert not later.done()
    held.release()
    (await asyncio.wait_for(coming, 1)).release()
    await asyncio.wait_for(later, 1)
    assert memory.loads == ["a", "b", "a"]


async def test_out_of_memory_while_loading_lowers_the_budget_and_tries_again(new_manager):
    memory = FakeMemory(1000, {"a": 10})
    memory.failures = [EngineOutOfMemory("2 GiB"), MemoryError()]
    manager = new_manager(memory)
    lease = await manager.lease("a")
    assert lease.engine.budget.ram_bytes == int(1000 * 0.8 * 0.8)


async def test_model_that_never_fits_fails_with_a_remedy(new_manager):
    memory = FakeMemory(1000, {"a": 10})
    memory.failures = [MemoryError() for _ in range(10)]
    manager = new_manager(memory)
    with pytest.raises(TaskError) as caught:
        await manager.lease("a")
    assert caught.value.code == pb.OUT_OF_MEMORY and "quantization" in caught.value.remedy
    assert states(manager) == {"a": pb.FAILED}
    memory.failures = []
    assert await manager.lease("a")


async def test_too_small_a_budget_makes_idle_models_leave(new_manager):
    memory = FakeMemory(100, {"a": 40, "b": 40})
    manager = new_manager(memory)
    (await manager.lease("a")).release()
    memory.failures = [TaskError(pb.OUT_OF_MEMORY, "it needs more")]
    assert await manager.lease("b")
    assert memory.engines[0].closed and memory.loads == ["a", "b", "b"]


async def test_failed_load_harms_no_other_model(new_manager):
    memory = FakeMemory(100, {"a": 10, "b": 10})
    manager = new_manager(memory)
    (await manager.lease("a")).release()
    memory.failures = [ValueError("odd weights")]
    with pytest.raises(TaskError, match="odd weights") as caught:
        await manager.lease("b")
    assert caught.value.code == pb.INTERNAL
    status = {status.name: status for status in manager.statuses()}
    assert status["a"].state == pb.LOADED
    assert status["b"].state == pb.FAILED and "odd weights" in status["b"].detail


async def test_load_goes_on_when_the_task_that_wanted_it_is_cancelled(new_manager):
    memory = FakeMemory(100, {"a": 10})
    memory.load_takes = 0.02
    manager = new_manager(memory)
    coming = asyncio.create_task(manager.lease("a"))
    await asyncio.sleep(0.01)
    coming.cancel()
    await asyncio.sleep(0.05)
    assert states(manager) == {"a": pb.LOADED}


async def test_progress_of_a_load_is_in_the_status(new_manager):
    memory = FakeMemory(100, {"a": 10})
    memory.load_takes = 0.05
    manager = new_manager(memory)
    coming = asyncio.create_task(manager.lease("a"))
    await asyncio.sleep(0.03)
    (status,) = manager.statuses()
    assert (status.state, round(status.progress, 2)) == (pb.LOADING, 0.5)
    await coming


async def test_download_is_refused_where_it_is_not_allowed(new_manager):
    manager = new_manager(FakeMemory(100, {}))
    with pytest.raises(TaskError) as caught:
        await manager.lease("owner/name")
    assert caught.value.code == pb.MODEL_NOT_FOUND and "allow_downloads" in caught.value.remedy
    assert manager.statuses() == []


async def test_names_of_missing_models_are_not_remembered(new_manager):
    manager = new_manager(FakeMemory(100, {}))
    for number in range(100):
        with pytest.raises(TaskError):
            await manager.lease(f"owner/{number}")
    assert manager.statuses() == []


async def test_nothing_leaves_for_a_model_that_never_fits(new_manager):
    memory = FakeMemory(100, {"a": 40, "huge": 1000})
    manager = new_manager(memory)
    (await manager.lease("a")).release()
    with pytest.raises(TaskError) as caught:
        await manager.lease("huge")
    assert caught.value.code == pb.OUT_OF_MEMORY
    assert states(manager)["a"] == pb.LOADED and memory.loads == ["a"]


async def test_a_model_without_tasks_for_long_leaves_and_the_next_task_brings_it_back(new_manager):
    memory = FakeMemory(100, {"idle": 10, "used": 10, "kept": 10, "recent": 10})
    manager = new_manager(memory)
    for name in ("idle", "kept", "recent"):
        (await manager.lease(name)).release()
    held = await manager.lease("used")
    for entry in manager.table.loaded():
        entry.resident.idle_since -= 0 if entry.name == "recent" else 1000
    await manager.unload_idle(600, keep=["kept"])
    assert states(manager) == {
        "idle": pb.AVAILABLE,
        "kept": pb.LOADED,
        "recent": pb.LOADED,
        "used": pb.LOADED,
    }
    assert memory.engines[0].closed and not held.engine.closed
    (told,) = [status.detail for status in manager.statuses() if status.name == "idle"]
    assert told == "left memory after 600 s without a task; the next one loads it again"
    held.release()
    await manager.unload_idle(600, keep=["kept"])  # a task ended just now
    assert states(manager)["used"] == pb.LOADED
    (await manager.lease("idle")).release()
    assert memory.loads.count("idle") == 2
    (told,) = [status.detail for status in manager.statuses() if status.name == "idle"]
    assert told == ""


async def test_model_is_in_memory_once_whatever_tasks_call_it(new_manager):
    memory = FakeMemory(100, {"ab": 10})
    memory.load_takes = 0.01
    manager = new_manager(memory)
    leases = await asyncio.gather(*(manager.lease(name) for name in ("AB", "ab", "Ab", "AB")))
    assert memory.loads == ["ab"] and len({id(lease.engine) for lease in leases}) == 1
    assert states(manager) == {"AB": pb.LOADED, "Ab": pb.LOADED, "ab": pb.LOADED}
    assert [status.bytes for status in manager.statuses()] == [0, 0, 10]
    assert manager.on_disk("aB") is None and manager.on_disk("AB").name == "ab"


async def test_other_names_of_models_are_forgotten_beyond_the_bound(new_manager):
    memory = FakeMemory(100, {"abcdefghij": 10})
    manager = new_manager(memory)
    for number in range(100):
        name = "".join(c.upper() if number >> i & 1 else c for i, c in enumerate("abcdefghij"))
        (await manager.lease(name)).release()
    assert len(manager.statuses()) == 65 and memory.loads == ["abcdefghij"]
