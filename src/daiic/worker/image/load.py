"""Loading an image pipeline: from what, with which precision, and where its weights go."""

from collections.abc import Callable
from pathlib import Path

from daiic.worker.backend import Backend
from daiic.worker.engine import Engine
from daiic.worker.memory_budget import MemoryBudget


async def load_image(
    path: Path,
    *,
    backend: Backend,
    quantization: str,
    budget: MemoryBudget,
    ram_offload: bool,
    allow_downloads: bool,
    token: str | None,
    progress: Callable[[float], None],
) -> Engine:
    """Load the pipeline at `path`: a directory in diffusers' layout, or one .safetensors file.

    A file NAME.safetensors takes its configuration from the folder NAME.config
    beside it; without one, diffusers' usual configuration for its kind is
    taken from the Hugging Face cache, or fetched with `token` if
    `allow_downloads`. `quantization` is "none", "8bit" or "4bit"; where it
    cannot be had the engine's `fallback` says why. Weights beyond
    `budget.vram_bytes` stay in RAM if `ram_offload` allows. `progress` is
    called with 0 to 1, in the event loop.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, OUT_OF_MEMORY if the
            budget is too small, MODEL_NOT_FOUND without a configuration,
            BAD_REQUEST if it is no pipeline that makes images from text.
    """
    raise NotImplementedError
