"""Engines without weights, and the memory they share, for tests of what manages engines."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model

WORDS = ["one ", "two ", "three ", "four ", "five "]


class FakeEngine:
    """Answers text tasks with `WORDS`, one a part, token by token; `before_word` may raise."""

    library = "fake"
    choice = "for tests"
    model_kind = pb.TEXT
    capabilities = frozenset({pb.CHAT, pb.COMPLETE, pb.EMBED})
    alive = True
    quantization = "4bit"
    precision = ""
    placement = "ram"
    fallback = ""
    cache_tokens = 100

    def __init__(
        self, memory: "FakeMemory", model: Model, budget: MemoryBudget, footprint: int
    ) -> None:
        self.model = model
        self.budget = budget
        self.footprint = footprint
        self.closed = False
        self.stalled_for = 0.0
        self.tasks: list[pb.Task] = []
        self._memory = memory

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        self.tasks.append(pb.Task.FromString(task.SerializeToString()))
        for index in range(len(task.resume.tokens), len(WORDS)):
            await self._memory.before_word(self, index)
            if self.closed:
                raise RuntimeError("the engine was closed")
            final = index == len(WORDS) - 1
            yield pb.Result(text=WORDS[index], tokens=[index], final=final)

    async def close(self) -> None:
        self.closed = True
        self._memory.used -= self.footprint


class FakeMemory:
    """RAM of `size` bytes, models of given sizes, and all engines that were ever loaded."""

    has_vram = False

    def __init__(self, size: int, sizes: dict[str, int]) -> None:
        self.size = size
        self.sizes = sizes
        self.used = 0
        self.loads: list[str] = []
        self.engines: list[FakeEngine] = []
        self.load_takes = 0.0
        self.failures: list[Exception] = []

    async def before_word(self, engine: FakeEngine, index: int) -> None:
        await asyncio.sleep(0)

    def footprint(self, model: Model) -> int:
        return self.sizes[model.name]

    def budget(self, held: int) -> MemoryBudget:
        return MemoryBudget(0, self.size - self.used)

    async def load(
        self, model: Model, budget: MemoryBudget, progress: Callable[[float], None]
    ) -> FakeEngine:
        self.loads.append(model.name)
        progress(0.5)
        await asyncio.sleep(self.load_takes)
        if self.failures:
            raise self.failures.pop(0)
        engine = FakeEngine(self, model, budget, self.sizes[model.name])
        self.used += engine.footprint
        self.engines.append(engine)
        return engine


class FakeCatalog:
    """A catalogue of models that are nowhere; capitals in their names make no difference."""

    def __init__(self, names: list[str]) -> None:
        self.models = [
            Model(name, Path(name), pb.TEXT, None, FakeEngine.capabilities) for name in names
        ]
        self.unusable: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    def scan(self) -> list[Model]:
        return self.models

    def find(self, name: str) -> Model | None:
        return next((model for model in self.models if model.name == name.lower()), None)

    def downloaded(self, name: str) -> Model | None:
        return None
