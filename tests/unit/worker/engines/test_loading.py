"""A model goes to the card with the most room if that holds it, else over all cards."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, Card
from daiic.worker.engines.interface import Engine, EngineEntry, LoadOptions, Probed
from daiic.worker.engines.loading import EngineLoader
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model
from support.models.fake_engine import FakeEngine, FakeMemory

TWO = Backend(pb.CUDA, torch.device("cuda", 0), "both", (Card(0, "Small"), Card(1, "Large")))
Load = tuple[Backend, MemoryBudget]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Load]:
    """What an engine's module, which expects 50 bytes for a model, is asked to load with."""
    asked: list[Load] = []
    module = ModuleType("engine_of_tests")

    async def load(
        path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
    ) -> Engine:
        asked.append((options.backend, budget))
        engine = FakeEngine(FakeMemory(0, {}), Model(path.name, path, pb.TEXT), budget, 50)
        engine.placement = "gpu" if budget.cards else "ram"
        return engine

    module.load, module.footprint = load, lambda model, options: 50  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine_of_tests", module)
    return asked


VULKAN = Backend(pb.VULKAN, torch.device("cpu"), "both", TWO.cards)


def loader(
    backend: Backend = TWO, *, over_cards: bool = True, without_torch: bool = False
) -> EngineLoader:
    engine = EngineEntry(
        "fake",
        lambda path, name: Probed(pb.TEXT, frozenset()),
        "engine_of_tests",
        over_cards=over_cards,
        without_torch=without_torch,
    )
    return EngineLoader(LoadOptions(backend), [engine])


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "config.json").write_text("{}")
    return Model("model", tmp_path, pb.TEXT)


def budget(*cards: int) -> MemoryBudget:
    return MemoryBudget(sum(cards), 100, lambda: budget(*cards), cards)


async def test_a_model_goes_to_the_card_with_the_most_room(model: Model, loads: list[Load]) -> None:
    await loader().load(model, budget(40, 60), lambda done: None)
    assert loads == [(TWO.on_card(1), budget(40, 60).on_card(1))]
    again = loads[0][1].again
    assert again is not None and again().vram_bytes == 60


@pytest.mark.parametrize(("other", "copies"), [(40, 1), (55, 2)])
async def test_a_second_task_at_a_time_brings_a_copy_where_a_card_has_the_room(
    model: Model, loads: list[Load], other: int, copies: int
) -> None:
    engine = await loader().load(model, budget(other, 60), lambda done: None)
    task = pb.Task(text=pb.TextTask(prompt="say"))
    async with contextlib.aclosing(engine.run(task)) as first:
        await anext(first)
        assert len([part async for part in engine.run(task)]) == 5
        for _ in range(100):  # a thread and a lock are in between
            await asyncio.sleep(0.01)
            if len(loads) == copies and engine.footprint == 50 * copies:
                break
    assert engine.footprint == 50 * copies
    if copies == 2:
        assert loads[1] == (TWO.on_card(0), budget(other, 60).on_card(0))
    await engine.close()


async def test_what_no_card_holds_goes_over_all(model: Model, loads: list[Load]) -> None:
    await loader().load(model, budget(40, 45), lambda done: None)
    assert loads == [(TWO, budget(40, 45))]


async def test_what_cannot_be_divided_stays_on_one_card(model: Model, loads: list[Load]) -> None:
    await loader(over_cards=False).load(model, budget(40, 45), lambda done: None)
    assert loads == [(TWO.on_card(1), budget(40, 45).on_card(1))]


async def test_cards_that_torch_does_not_know_are_for_engines_without_it(
    model: Model, loads: list[Load]
) -> None:
    await loader(VULKAN).load(model, budget(60, 60), lambda done: None)
    await loader(VULKAN, without_torch=True).load(model, budget(40, 60), lambda done: None)
    assert loads == [
        (VULKAN, MemoryBudget(0, 100)),
        (VULKAN.on_card(1), budget(40, 60).on_card(1)),
    ]
