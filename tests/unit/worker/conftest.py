"""A model manager over engines without weights."""

from collections.abc import Callable

import pytest

from daiic.worker import manager as managing
from daiic.worker.manager import ModelManager
from fake_engine import FakeCatalog, FakeMemory


@pytest.fixture
def new_manager(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModelManager]:
    """Make a manager of the models in a `FakeMemory`, each expected to take its size."""

    def make(memory: FakeMemory, **options: object) -> ModelManager:
        monkeypatch.setattr(
            managing, "expected_footprint", lambda model, quantization: memory.sizes[model.name]
        )
        given = {"fetch": None, "quantization": "4bit", "ram_offload": True, **options}
        return ModelManager(FakeCatalog(list(memory.sizes)), memory, memory.load, **given)

    return make
