"""Loading an image pipeline, seen from the event loop: nothing here takes long."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from daiic.worker.backend import Backend
from daiic.worker.engines.interface import Engine
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.memory.budget import MemoryBudget


async def load_image(
    path: Path,
    *,
    backend: Backend,
    quantization: str,
    budget: MemoryBudget,
    ram_offload: bool,
    allow_downloads: bool,
    token: str | None,
    cache_dir: Path | None,
    progress: Callable[[float], None],
) -> Engine:
    """Load the pipeline at `path`: a directory in diffusers' layout, or one .safetensors file.

    A file NAME.safetensors takes its configuration from the folder NAME.config
    beside it; without one, diffusers' usual configuration for its kind is
    taken from the Hugging Face cache in `cache_dir`, or fetched with `token` if
    `allow_downloads`. `quantization` is "none", "8bit" or "4bit"; where it
    cannot be had the engine's `fallback` says why. Weights beyond
    `budget.vram_bytes` stay in RAM if `ram_offload` allows, so that loading
    again with a smaller budget answers a lack of memory. `progress` is called
    with 0 to 1, in the event loop.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, OUT_OF_MEMORY if the
            budget is too small, MODEL_NOT_FOUND without a configuration,
            BAD_REQUEST if it is no pipeline that makes images from text.
        torch.OutOfMemoryError: if memory ran out on the way.
    """
    loop = asyncio.get_running_loop()
    thread = OneThread(f"image-{path.name}")

    def report(share: float) -> None:
        loop.call_soon_threadsafe(progress, share)

    def work() -> Engine:
        # These imports take seconds, which the event loop has not.
        from daiic.worker.engines.diffusers.assembly import Conditions, assemble
        from daiic.worker.engines.diffusers.source import Hub

        hub = Hub(allow_downloads, token, cache_dir)
        conditions = Conditions(backend, quantization, budget, ram_offload)
        return assemble(path, hub, conditions, thread, report)

    try:
        return await asyncio.wrap_future(thread.submit(work))
    except BaseException:
        thread.stop()
        raise
