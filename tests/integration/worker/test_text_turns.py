"""Text by text, a language model answers as it does in batches."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineOutOfMemory
from daiic.worker.engines.transformers_text import choice
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.turns import Turns
from integration.worker.test_text import mixed_tasks, serving, task, tokens
from support.models.tiny_models import language_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny")


@contextlib.asynccontextmanager
async def in_turns(path: Path, *, slots: int = 8) -> AsyncIterator[TextEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "_obstacle", lambda _: "this test wants it so")
        async with serving(path, slots=slots) as engine:
            assert isinstance(engine._current.generator, Turns)
            assert engine.fallback == "not batched: this test wants it so"
            yield engine


async def test_a_task_continues_with_the_same_tokens_whichever_way_it_is_served(
    model: Path,
) -> None:
    tasks = mixed_tasks()
    async with serving(model) as batched:
        expected = [await tokens(batched, wanted) for wanted in tasks]
    async with in_turns(model) as engine:
        assert list(await asyncio.gather(*(tokens(engine, wanted) for wanted in tasks))) == expected
        wanted = tasks[1]
        wanted.resume.CopyFrom(pb.Resume(tokens=expected[1][:9]))
        assert await tokens(engine, wanted) == expected[1][9:]


async def test_texts_of_one_length_are_a_batch_and_leave_it_one_by_one(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_turns(model) as engine:
        rows: list[int] = []
        whole = engine._model.forward

        def counted(*args: object, **kwargs: object) -> object:
            ids = kwargs["input_ids"]
            assert isinstance(ids, torch.Tensor)
            rows.append(len(ids))
            return whole(*args, **kwargs)

        tasks = [task("The quick", max_tokens=5 * n, seed=n, temperature=1) for n in range(2, 6)]
        alone = [await tokens(engine, wanted) for wanted in tasks]
        monkeypatch.setattr(engine._model, "forward", counted)
        together = await asyncio.gather(*(tokens(engine, wanted) for wanted in tasks))
        monkeypatch.setattr(engine._model, "forward", whole)
        assert list(together) == alone
        assert max(rows) > 1
        assert len(rows) < sum(map(len, alone))
        assert engine.footprint == engine._weights_bytes


async def test_a_closed_answer_leaves_its_place_to_others(model: Path) -> None:
    async with in_turns(model, slots=1) as engine:
        endless = engine.run(task("a", max_tokens=240, temperature=1, seed=1))
        await anext(endless)
        await endless.aclose()
        assert engine.stalled_for == 0
        async with asyncio.timeout(60):
            assert len(await tokens(engine, task("b", max_tokens=3))) == 3


async def test_a_failure_ends_what_it_concerns_and_lack_of_memory_is_told_apart(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_turns(model) as engine:
        whole = engine._model.forward
        for raised, expected in (
            (torch.OutOfMemoryError("CUDA out of memory."), EngineOutOfMemory),
            (RuntimeError("a fault"), TaskError),
        ):
            failing = raised

            def fail(*_: object, error: Exception = failing, **kwargs: object) -> None:
                raise error

            monkeypatch.setattr(engine._model, "forward", fail)
            with pytest.raises(expected, match=r"out of memory|a fault"):
                await tokens(engine, task("a", max_tokens=3))
            monkeypatch.setattr(engine._model, "forward", whole)
            assert len(await tokens(engine, task("a", max_tokens=3))) == 3


async def test_closing_ends_what_runs_and_gives_the_memory_back(model: Path) -> None:
    async with in_turns(model) as engine:
        running = engine.run(task("a", max_tokens=240, temperature=1, seed=1))
        await anext(running)
        weights = weakref.ref(engine._model)
    with pytest.raises(TaskError) as ended:
        while True:
            await anext(running)
    assert ended.value.code == pb.SHUTTING_DOWN
    del ended  # its traceback holds what was running
    gc.collect()
    assert weights() is None
