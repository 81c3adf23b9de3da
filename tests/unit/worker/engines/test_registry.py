"""An engine that is a child process stands beside the others, and its death moves tasks."""

import asyncio
import contextlib
import json

import numpy
import pytest
from safetensors.numpy import save_file

from daiic.errors import TaskError
from daiic.head.worker_messages import MOVABLE
from daiic.wire import daiic_pb2 as pb
from daiic.worker.answer import answer
from daiic.worker.backend import choose as backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.loading import EngineLoader
from daiic.worker.engines.registry import ENGINES, choose
from daiic.worker.memory.manager import ModelManager
from daiic.worker.models.model import Model
from support.models import child_engine
from support.models.fake_engine import FakeCatalog, FakeMemory

WITH_CHILD = (child_engine.ENTRY, *ENGINES)


def folder(path, **config):
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **config}))
    save_file({"weight": numpy.zeros(8, dtype=numpy.float16)}, path / "model.safetensors")
    return path


@pytest.fixture
async def manager(tmp_path):
    """A manager of one model, "a", that a child process runs."""
    model = Model("a", folder(tmp_path / "a", counts=True), pb.TEXT)
    catalog = FakeCatalog([])
    catalog.models = [model]
    loader = EngineLoader(LoadOptions(backend("cpu")), WITH_CHILD)
    manager = ModelManager(catalog, FakeMemory(10_000, {}), loader, None, ram_offload=True)
    yield manager
    await manager.close()


def count_to(number, **fields):
    return pb.Task(model="a", text=pb.TextTask(prompt="count", max_tokens=number), **fields)


async def said(manager, task):
    return "".join([part.text async for part in answer(manager, task)])


def test_the_first_engine_that_accepts_a_model_runs_it(tmp_path):
    counting, other = folder(tmp_path / "a", counts=True), folder(tmp_path / "b")
    chosen = [choose(path, path.name, WITH_CHILD)[0].name for path in (counting, other)]
    assert chosen == ["child", "transformers_text"]
    assert choose(counting, "a")[0].name == "transformers_text"


async def test_a_child_process_answers_and_is_shown_like_any_engine(manager):
    assert await said(manager, count_to(3)) == "0 1 2 "
    (status,) = manager.statuses()
    assert (status.state, status.bytes) == (pb.LOADED, child_engine.BYTES)
    assert list(status.capabilities) == [pb.COMPLETE]
    assert status.identity.quantization == "Q4_K_M" and status.identity.weights


async def test_a_child_killed_in_mid_answer_moves_its_task_and_is_loaded_again(manager):
    parts = answer(manager, count_to(5))
    text = ""
    async with contextlib.aclosing(parts):
        with pytest.raises(TaskError) as caught:
            async for part in parts:
                text += part.text
                if text == "0 1 2 ":
                    manager.table.engines()[0].child.kill()
    assert caught.value.code in MOVABLE and "status -9" in caught.value.message
    assert [status.state for status in manager.statuses()] == [pb.AVAILABLE]
    resume = pb.Resume(tokens=[0, 1, 2], text=text, index=4)
    assert await said(manager, count_to(6, resume=resume)) == "3 4 5 "


async def test_all_tasks_on_a_child_that_dies_move(manager):
    others = [asyncio.create_task(said(manager, count_to(5))) for _ in range(3)]
    while not manager.table.engines():
        await asyncio.sleep(0.01)
    manager.table.engines()[0].child.kill()
    for ended in await asyncio.gather(*others, return_exceptions=True):
        assert isinstance(ended, TaskError) and ended.code in MOVABLE


async def test_a_child_that_dies_while_idle_fails_no_task(manager):
    await said(manager, count_to(3))
    dead = manager.table.engines()[0].child
    dead.kill()
    await dead.wait()
    assert await said(manager, count_to(4)) == "0 1 2 3 "
    again = manager.table.engines()[0].child
    again.kill()
    await again.wait()
    await manager.unload_dead()
    assert [status.state for status in manager.statuses()] == [pb.AVAILABLE]
