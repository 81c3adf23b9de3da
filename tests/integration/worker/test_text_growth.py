"""A model's cache is small at first, grows with its texts, and leaves memory to others."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text import current_generator, growth
from daiic.worker.engines.transformers_text.guide import Guide
from daiic.worker.memory.budget import MemoryBudget
from integration.worker.test_text import serving, task, tokens
from support.models.tiny_models import language_model

PLENTY = MemoryBudget(vram_bytes=0, ram_bytes=16 << 30)
SMALL = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny", context=2048)


@pytest.fixture
def small_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "START_LEAST", SMALL)
    monkeypatch.setattr(growth, "START_MOST", SMALL)
    monkeypatch.setattr(growth, "RESERVE", 32)
    monkeypatch.setattr(current_generator, "RESERVE", 32)


def long_tasks() -> list[pb.Task]:
    return [task("The quick " * n, max_tokens=300, temperature=1, seed=n) for n in range(1, 4)]


async def test_a_loaded_model_takes_little_of_the_memory_that_is_free(model: Path) -> None:
    async with serving(model, budget=PLENTY) as engine:
        assert engine.footprint - engine._weights_bytes < 1.1 * growth.START_BYTES


async def test_texts_go_on_with_the_same_tokens_when_the_cache_grows_under_them(
    model: Path, small_start: None
) -> None:
    tasks = long_tasks()
    async with serving(model, budget=PLENTY) as engine:
        before = engine.footprint
        together = await asyncio.gather(*(tokens(engine, wanted) for wanted in tasks))
        assert engine._current.generator.capacity >= 2 * SMALL
        assert engine.footprint > before
        # All fit now: what they say alone is said without growing.
        assert [await tokens(engine, wanted) for wanted in tasks] == list(together)


async def test_a_cache_that_nobody_needs_any_more_is_small_again(
    model: Path, small_start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_generator, "IDLE", 0.1)
    async with serving(model, budget=PLENTY) as engine:
        before = engine.footprint
        first = await tokens(engine, long_tasks()[0])
        async with asyncio.timeout(60):
            while engine._current.generator.capacity > SMALL or engine.footprint != before:
                await asyncio.sleep(0.05)
        assert await tokens(engine, long_tasks()[0]) == first


async def test_others_memory_is_not_taken_and_a_text_that_needs_it_is_refused(
    model: Path, small_start: None
) -> None:
    taken_since = replace(PLENTY, again=lambda: MemoryBudget(0, 0))
    async with serving(model, budget=taken_since) as engine:
        with pytest.raises(TaskError, match="memory for 256") as refusal:
            await tokens(engine, task("The quick brown fox " * 80, max_tokens=5))
        assert refusal.value.code == pb.OUT_OF_MEMORY
        # Texts that do not fit together wait for each other.
        short = [task("The quick", max_tokens=150, temperature=1, seed=n) for n in range(3)]
        together = await asyncio.gather(*(tokens(engine, wanted) for wanted in short))
        assert [await tokens(engine, wanted) for wanted in short] == list(together)
        assert engine._current.generator.capacity == SMALL


async def test_a_text_that_prepares_its_grammar_meanwhile_goes_on_in_the_larger_cache(
    tmp_path: Path, small_start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepares, may_go_on = threading.Event(), threading.Event()
    after = Guide.after

    def slow(*text: Any) -> Guide:
        prepares.set()
        may_go_on.wait(60)
        return after(*text)

    constrained = task("The quick", max_tokens=8)
    constrained.text.constraint.regex = "[a-z]{40}"
    model = language_model(tmp_path / "tiny", ends=True, context=2048)
    async with serving(model, budget=PLENTY) as engine:
        monkeypatch.setattr(Guide, "after", slow)
        waiting = asyncio.create_task(tokens(engine, constrained))
        await asyncio.to_thread(prepares.wait, 60)
        await tokens(engine, task("The quick " * 100, max_tokens=5))
        assert engine._current.generator.capacity > SMALL
        may_go_on.set()
        async with asyncio.timeout(60):
            assert len(await waiting) == 8
