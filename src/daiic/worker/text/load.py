"""Loading a language model: precision, quantisation and where its weights go."""

from collections.abc import Callable
from pathlib import Path

from daiic.worker.backend import Backend
from daiic.worker.engine import Engine
from daiic.worker.memory_budget import MemoryBudget


async def load_text(
    path: Path,
    *,
    backend: Backend,
    quantization: str,
    budget: MemoryBudget,
    ram_offload: bool,
    slots: int,
    progress: Callable[[float], None],
) -> Engine:
    """Load the language model in the directory `path` and return the engine that serves it.

    `quantization` is "none", "8bit" or "4bit"; where it cannot be had the
    engine's `fallback` says why. Weights beyond `budget.vram_bytes` go to RAM
    if `ram_offload` allows. At most `slots` tasks run in one batch. `progress`
    is called with 0 to 1, in the event loop.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, OUT_OF_MEMORY if the
            budget is too small, BAD_REQUEST if it is no language model.
    """
    raise NotImplementedError
