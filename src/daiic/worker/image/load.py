"""Loading an image pipeline: from what, with which precision, and where its weights go."""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import structlog
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.engine import Engine
from daiic.worker.image.abilities import abilities_of
from daiic.worker.image.engine import ImageEngine
from daiic.worker.image.one_thread import OneThread
from daiic.worker.image.placement import (
    TILE,
    Placement,
    choose,
    gib,
    place,
    sizes_of,
    working_bytes,
)
from daiic.worker.image.quantize import QuantizationError, quantize
from daiic.worker.image.source import Hub, Source, find_source
from daiic.worker.memory_budget import MemoryBudget

log = structlog.get_logger()


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
    cache_dir: Path | None = None,
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
    hub = Hub(allow_downloads, token, cache_dir)

    def report(share: float) -> None:
        loop.call_soon_threadsafe(progress, share)

    loading = thread.submit(
        lambda: _load(path, hub, backend, quantization, budget, ram_offload, report, thread)
    )
    try:
        return await asyncio.wrap_future(loading)
    except BaseException:
        thread.stop()
        raise


def _load(
    path: Path,
    hub: Hub,
    backend: Backend,
    quantization: str,
    budget: MemoryBudget,
    ram_offload: bool,
    progress: Callable[[float], None],
    thread: OneThread,
) -> ImageEngine:
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    progress(0.0)
    source = find_source(path, hub)
    dtype = _dtype(backend, source)
    _check_ram(source, dtype, budget)
    progress(0.05)
    pipeline = source.load(dtype)
    pipeline.set_progress_bar_config(disable=True)
    abilities = abilities_of(pipeline, source.name)
    progress(0.7)
    fallback = _quantize(pipeline, source.name, quantization, backend, dtype)
    progress(0.9)
    placement = None
    if backend.is_gpu:
        width, height = abilities.width, abilities.height
        placement = choose(
            source.name,
            sizes_of(pipeline),
            working_bytes(pipeline, width, height),
            working_bytes(pipeline, min(width, TILE), min(height, TILE)),
            budget.vram_bytes,
            ram_offload=ram_offload,
        )
        unmovable = _unmovable(placement, quantization if not fallback else "none")
        if unmovable:
            # Only weights as they were loaded can be moved; they are gone, so once more.
            del pipeline
            gc.collect()
            torch.cuda.empty_cache()
            engine = _load(path, hub, backend, "none", budget, ram_offload, progress, thread)
            engine.fallback = f"{quantization} does not fit the GPU: {unmovable}"
            return engine
        place(pipeline, placement, backend.device)
    progress(1.0)
    return ImageEngine(
        pipeline,
        abilities,
        thread,
        footprint=sum(sizes_of(pipeline).values()),
        quantization="none" if fallback else quantization,
        placement=_PLACES[placement],
        fallback=fallback,
    )


_PLACES = {
    None: "ram",
    Placement.WHOLE: "gpu",
    Placement.BY_PART: "gpu+ram",
    Placement.BY_LAYER: "gpu+ram",
}


def _dtype(backend: Backend, source: Source) -> torch.dtype:
    """float32 on a CPU; on a GPU what the kind of model was made for, where the GPU has it."""
    if not backend.is_gpu:
        return torch.float32
    if "transformer" in source.parts() and torch.cuda.is_bf16_supported():
        return torch.bfloat16  # their activations go beyond float16's range
    return torch.float16


def _check_ram(source: Source, dtype: torch.dtype, budget: MemoryBudget) -> None:
    needed = source.parameters() * dtype.itemsize
    if needed > budget.ram_bytes:
        raise TaskError(
            pb.OUT_OF_MEMORY,
            f"{source.name} needs {gib(needed)} of RAM while it loads and may use "
            f"{gib(budget.ram_bytes)}",
            "free memory, raise ram_limit, or use a smaller model",
        )


def _quantize(
    pipeline: Any, name: str, quantization: str, backend: Backend, dtype: torch.dtype
) -> str:
    """Quantise; return why it was not, or nothing."""
    if quantization == "none":
        return ""
    try:
        quantize(pipeline, quantization, backend.device, dtype)
    except QuantizationError as error:
        log.warning("not quantised", model=name, wanted=quantization, reason=str(error))
        return f"not {quantization}: {error}"
    return ""


def _unmovable(placement: Placement, quantization: str) -> str:
    """Why weights so quantised cannot be placed so, or nothing."""
    if placement is Placement.BY_LAYER and quantization != "none":
        return "quantised layers cannot be moved one by one"
    if placement is Placement.BY_PART and quantization == "8bit":
        return "8-bit layers stay where they first ran"
    return ""
