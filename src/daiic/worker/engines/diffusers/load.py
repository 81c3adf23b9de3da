"""Loading an image pipeline, seen from the event loop: nothing here takes long."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from daiic.worker.engines.interface import Engine, LoadOptions
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.footprint import weights_bytes, with_work
from daiic.worker.engines.torch.weights_plan import automatic, count
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.adapters import bytes_of_adapters
from daiic.worker.models.model import Model
from daiic.worker.models.repository_files import choose_files


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`."""
    return with_work(expected_weights(model, options)) + bytes_of_adapters(model)


def expected_weights(model: Model, options: LoadOptions) -> int:
    """Return the bytes of the weights of `model` when they are the most.

    Raises:
        TaskError: if they cannot be used.
    """
    # A pipeline is quantised when it is whole in RAM.
    quantization = options.quantization if options.backend.is_gpu else "none"
    return weights_bytes(
        _weights_in(model.path), options.backend, quantization, options.room, options.precision
    )


def _resolved(path: Path, options: LoadOptions, budget: MemoryBudget) -> LoadOptions:
    """Return `options` with the quantisation that "auto" means for the pipeline at `path`."""
    if options.quantization != "auto":
        return options
    quantization = "none"
    if options.backend.is_gpu:  # in RAM it is whole before it is quantised, so that saves nothing
        sizes = count(_weights_in(path))
        quantization = automatic(sizes, options.backend, budget.vram_bytes)
    return replace(options, quantization=quantization)


def _weights_in(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    names = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
    return [path / name for name in choose_files(path.name, names).weights]


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> Engine:
    """Load the pipeline at `path`: a directory in diffusers' layout, or one .safetensors file.

    A file NAME.safetensors takes its configuration from the folder NAME.config
    beside it; without one, diffusers' usual configuration for its kind is
    taken from the Hugging Face cache, or fetched. Where a quantisation cannot
    be had the engine's `fallback` says why. Weights beyond `budget.vram_bytes`
    stay in RAM if `options.ram_offload` allows, so that loading again with a
    smaller budget answers a lack of memory. `progress` is called with 0 to 1,
    in the event loop.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, OUT_OF_MEMORY if the
            budget is too small, MODEL_NOT_FOUND without a configuration,
            BAD_REQUEST if it is no pipeline that makes images from text.
        EngineOutOfMemory, DeviceLost: as those say.
    """
    loop = asyncio.get_running_loop()
    thread = OneThread(f"image-{path.name}")

    def report(share: float) -> None:
        loop.call_soon_threadsafe(progress, share)

    def work() -> Engine:
        # Importing these takes seconds: too slow for the event loop.
        from daiic.worker.engines.diffusers.assembly import assemble

        with translated():
            return assemble(path, _resolved(path, options, budget), budget, thread, report)

    try:
        return await thread.do(work)
    except BaseException:
        thread.stop()
        raise
