"""A model manager over engines without weights."""

from collections.abc import Callable

import pytest

from daiic.worker.memory.manager import ModelManager
from support.models.fake_engine import FakeCatalog, FakeMemory


@pytest.fixture
def new_manager() -> Callable[..., ModelManager]:
    """Make a manager of the models in a `FakeMemory`, each expected to take its size."""

    def make(memory: FakeMemory, **options: object) -> ModelManager:
        catalog = FakeCatalog(list(memory.sizes))
        given = {"downloads": None, "ram_offload": True, **options}
        return ModelManager(catalog, memory, memory, **given)

    return make
