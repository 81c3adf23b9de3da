"""From a pipeline on disk to its engine: precision, quantisation, and where its weights go."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import structlog
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.abilities import abilities_of
from daiic.worker.engines.diffusers.calling import calling_of
from daiic.worker.engines.diffusers.drawers import drawers_of
from daiic.worker.engines.diffusers.engine import ImageEngine
from daiic.worker.engines.diffusers.loras import load_loras
from daiic.worker.engines.diffusers.placement import (
    TILE,
    Placement,
    choose,
    decode_in_tiles,
    gib,
    place,
    sizes_of,
    working_bytes,
)
from daiic.worker.engines.diffusers.prompt_template import bound_templates
from daiic.worker.engines.diffusers.quantize import QuantizationError, quantize
from daiic.worker.engines.diffusers.request import Abilities
from daiic.worker.engines.diffusers.source import Source, find_source
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.quantization import compute_dtype
from daiic.worker.memory.budget import MemoryBudget

PLACES = {
    Placement.WHOLE: "gpu",
    Placement.BY_PART: "gpu+ram",
    Placement.BY_LAYER: "gpu+ram",
}

log = structlog.get_logger()


def assemble(
    path: Path,
    options: LoadOptions,
    budget: MemoryBudget,
    thread: OneThread,
    progress: Callable[[float], None],
) -> ImageEngine:
    """Load the pipeline at `path`, in `thread`, where it will run; errors are those of `load`."""
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    backend = options.backend
    progress(0.0)
    source = find_source(path, options)
    dtype = _dtype(options, source, budget)
    _check_ram(source, dtype, budget)
    progress(0.05)
    pipeline = source.load(dtype)
    pipeline.set_progress_bar_config(disable=True)
    bound_templates(pipeline, source.name)
    calling = calling_of(pipeline)
    abilities = abilities_of(pipeline, source.name, calling)
    progress(0.7)
    fallback = _quantize(pipeline, source.name, options, dtype)
    in_force = "none" if fallback else options.quantization
    loras = load_loras(pipeline, path, dtype)
    progress(0.9)
    where = "ram"
    if backend.is_gpu:
        placement = _choose(pipeline, source.name, abilities, budget, options.ram_offload)
        if unmovable := _unmovable(placement, in_force):
            # Only weights as they were loaded can be moved so; they are gone, so once more.
            del pipeline
            gc.collect()
            torch.cuda.empty_cache()
            unquantised = replace(options, quantization="none")
            engine = assemble(path, unquantised, budget, thread, lambda share: progress(0.9))
            engine.fallback = f"not {in_force}: it does not fit the GPU whole, and {unmovable}"
            progress(1.0)
            return engine
        place(pipeline, placement, backend.device)
        where = PLACES[placement]
    elif _beside_weights(budget, pipeline) < working_bytes(
        pipeline, abilities.width, abilities.height
    ):
        decode_in_tiles(pipeline)
    progress(1.0)
    return ImageEngine(
        drawers_of(pipeline, calling),
        loras,
        abilities,
        thread,
        footprint=sum(sizes_of(pipeline).values()),
        quantization=in_force,
        precision=str(dtype).removeprefix("torch."),
        placement=where,
        fallback=fallback,
    )


def _beside_weights(budget: MemoryBudget, pipeline: Any) -> int:
    return budget.ram_bytes - sum(sizes_of(pipeline).values())


def _choose(
    pipeline: Any, name: str, abilities: Abilities, budget: MemoryBudget, ram_offload: bool
) -> Placement:
    width, height = abilities.width, abilities.height
    return choose(
        name,
        sizes_of(pipeline),
        working_bytes(pipeline, width, height),
        working_bytes(pipeline, min(width, TILE), min(height, TILE)),
        budget.vram_bytes,
        ram_offload=ram_offload,
    )


def _dtype(options: LoadOptions, source: Source, budget: MemoryBudget) -> torch.dtype:
    """As set on a CPU, else float32 if it fits; on a GPU what the kind of model was made for."""
    if not options.backend.is_gpu:
        if options.precision != "auto":
            return compute_dtype(options.backend, options.precision)
        fits = source.parameters() * torch.float32.itemsize <= budget.ram_bytes
        return torch.float32 if fits else torch.bfloat16
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


def _quantize(pipeline: Any, name: str, options: LoadOptions, dtype: torch.dtype) -> str:
    """Quantise; return why it was not, or nothing."""
    wanted = options.quantization
    if wanted == "none":
        return ""
    try:
        quantize(pipeline, wanted, options.backend.device, dtype)
    except QuantizationError as error:
        log.warning("not quantised", model=name, wanted=wanted, reason=str(error))
        return f"not {wanted}: {error}"
    return ""


def _unmovable(placement: Placement, quantization: str) -> str:
    """Why weights so quantised cannot be placed so, or nothing."""
    if placement is Placement.BY_LAYER and quantization != "none":
        return "quantised layers cannot be moved one by one"
    if placement is Placement.BY_PART and quantization == "8bit":
        return "8-bit layers stay where they first ran"
    return ""
