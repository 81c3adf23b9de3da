"""Loading a sentence embedding model."""

from collections.abc import Callable
from pathlib import Path

from daiic.worker.backend import Backend
from daiic.worker.engine import Engine
from daiic.worker.memory_budget import MemoryBudget


async def load_embedding(
    path: Path,
    *,
    backend: Backend,
    quantization: str,
    budget: MemoryBudget,
    ram_offload: bool,
    slots: int,
    progress: Callable[[float], None],
) -> Engine:
    """Load the model in the directory `path` and return the engine that embeds with it.

    Arguments and errors are those of `daiic.worker.text.load_text`.
    """
    raise NotImplementedError
