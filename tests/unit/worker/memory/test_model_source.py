"""A model that only others could hold: what its error says, and what heads learn of its size."""

import asyncio
from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.memory.manager import ModelManager
from daiic.worker.memory.model_source import Downloads
from daiic.worker.memory.resource_errors import does_not_fit
from daiic.worker.models.download_errors import TooLarge
from daiic.worker.models.model import Model
from daiic.worker.sharding.plan import ALONE, Member, Plan
from support.models.fake_engine import FakeCatalog, FakeMemory

GB = 10**9
PLAN = Plan((Member("w", "w", "127.0.0.1:1", GB),))


class Hub:
    """Has one repository, whose GGUF files are too large for the worker."""

    def __init__(self, catalog: FakeCatalog, gguf: str = "") -> None:
        self.fetched: list[str] = []
        self._catalog = catalog
        self._gguf = gguf

    async def fetch(self, name: str, progress: object, alone: bool) -> str:
        if alone:
            raise TooLarge(name, 40 * GB, 8 * GB)
        self.fetched.append(name)
        self._catalog.downloaded = lambda name: Model(  # type: ignore[method-assign]
            name, Path("m.gguf"), pb.TEXT, needs=45 * GB, lead_needs=GB
        )
        return name

    async def gguf_of(self, name: str) -> str:
        return self._gguf


def manager_of(
    names: list[str], gguf: str = "", *, downloads: bool = True
) -> tuple[ModelManager, Hub]:
    memory = FakeMemory(10, dict.fromkeys([*names, "owner/large"], 100))
    memory.failures = [does_not_fit("it")]
    catalog = FakeCatalog(names)
    for model in catalog.models:
        object.__setattr__(model, "path", Path(model.name))
    hub = Hub(catalog, gguf)
    given = Downloads(hub.fetch, hub.gguf_of) if downloads else None
    return ModelManager(catalog, memory, memory, given, ram_offload=True), hub


async def refusal(manager: ModelManager, name: str, plan: Plan = ALONE) -> TaskError:
    with pytest.raises(TaskError) as caught:
        await manager.lease(name, plan)
    return caught.value


def told(manager: ModelManager, name: str) -> pb.ModelStatus:
    return next(status for status in manager.statuses() if status.name == name)


async def test_model_too_large_for_this_worker_is_not_downloaded_and_its_size_is_told() -> None:
    manager, hub = manager_of([])
    error = await refusal(manager, "owner/large")
    assert error.code == pb.OUT_OF_MEMORY
    assert "45.3 GB" in error.message and "8.0 GB" in error.message
    assert "shard = true" in error.remedy
    assert not hub.fetched
    status = told(manager, "owner/large")
    assert status.state == pb.FAILED
    assert status.needs > 40 * GB > status.lead_needs > GB


async def test_it_is_downloaded_where_a_group_is_led() -> None:
    manager, hub = manager_of([])
    await refusal(manager, "owner/large")
    coming = asyncio.create_task(manager.lease("owner/large", PLAN))
    with pytest.raises(TaskError):  # it is too large for this memory, which knows of no groups
        await coming
    assert hub.fetched == ["owner/large"]
    assert told(manager, "owner/large").needs == 45 * GB


@pytest.mark.parametrize(
    ("there", "on_hub", "words"),
    [
        (["large-q4_k_m.gguf"], "", "use large-q4_k_m.gguf"),
        ([], "owner/large-GGUF", "use owner/large-GGUF"),
        ([], "", "put one of this model on a worker"),
    ],
)
async def test_error_of_a_model_in_another_format_says_that_groups_need_a_gguf_and_names_one(
    there: list[str], on_hub: str, words: str
) -> None:
    manager, _ = manager_of(["owner/large", *there], on_hub)
    error = await refusal(manager, "owner/large")
    assert error.code == pb.OUT_OF_MEMORY
    assert "hold together only models in GGUF" in error.remedy and words in error.remedy


async def test_error_of_a_gguf_does_not_speak_of_another() -> None:
    manager, _ = manager_of(["large.gguf"], downloads=False)
    error = await refusal(manager, "large.gguf")
    assert error.code == pb.OUT_OF_MEMORY and "GGUF" not in error.remedy


async def test_model_without_tasks_leaves_when_its_head_asks_and_one_with_tasks_stays() -> None:
    memory = FakeMemory(10, {"a": 4})
    manager = ModelManager(FakeCatalog(["a"]), memory, memory, None, ram_offload=True)
    lease = await manager.lease("a")
    await manager.unload("a")
    assert told(manager, "a").state == pb.LOADED
    lease.release()
    await manager.unload("a")
    assert told(manager, "a").state == pb.AVAILABLE and memory.used == 0
    await manager.unload("a")
    await manager.unload("unknown")
