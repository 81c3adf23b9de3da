"""Where a pipeline's weights live: all on the GPU, part by part, layer by layer, or in RAM."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

LIVE_MAPS = 12
"""How many feature maps of the autoencoder's widest level live at once as it decodes; a guess."""
TILE = 512
"""Pixels a side that are decoded at once where weights are offloaded."""


class Placement(Enum):
    """From the fastest, which needs the most of the GPU's memory, to the slowest."""

    WHOLE = "whole"
    BY_PART = "by part"
    BY_LAYER = "by layer"


def choose(
    name: str,
    sizes: Mapping[str, int],
    working: int,
    working_in_tiles: int,
    vram: int,
    *,
    ram_offload: bool,
) -> Placement:
    """Return the fastest placement in which parts of `sizes` bytes, and the work, fit into `vram`.

    `working` is what drawing takes besides the weights, at once or in tiles.

    Raises:
        TaskError: OUT_OF_MEMORY if none does.
    """
    whole = sum(sizes.values()) + working
    if whole <= vram:
        return Placement.WHOLE
    if not ram_offload:
        raise TaskError(
            pb.OUT_OF_MEMORY,
            f"{name} needs {gib(whole)} of GPU memory and may use {gib(vram)}",
            "set ram_offload = true, a smaller quantization, or a higher vram_limit",
        )
    if max(sizes.values()) + working_in_tiles <= vram:
        return Placement.BY_PART
    if working_in_tiles <= vram:
        return Placement.BY_LAYER
    raise TaskError(
        pb.OUT_OF_MEMORY,
        f"{name} needs {gib(working_in_tiles)} of GPU memory even with all its weights in RAM, "
        f"and may use {gib(vram)}",
        "free GPU memory, raise vram_limit, or use a smaller model",
    )


def place(pipeline: Any, placement: Placement, device: torch.device) -> None:
    """Move `pipeline`, or have its parts moved while it draws."""
    if placement is Placement.WHOLE:
        pipeline.to(device)
        return
    decode_in_tiles(pipeline)
    if placement is Placement.BY_PART:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)


def decode_in_tiles(pipeline: Any) -> None:
    """Have images decoded TILE pixels a side at a time, where the autoencoder can do that."""
    decoder: Any = getattr(pipeline, "vae", None)
    if not hasattr(decoder, "enable_tiling"):
        return
    decoder.enable_tiling()
    side = getattr(decoder, "tile_sample_min_size", None)
    # One that was trained on images of 1024 pixels would take them for a single tile.
    if isinstance(side, int) and side > TILE:
        decoder.tile_latent_min_size = decoder.tile_latent_min_size * TILE // side
        decoder.tile_sample_min_size = TILE


def sizes_of(pipeline: Any) -> dict[str, int]:
    """Bytes of each part's weights."""
    return {
        name: sum(_bytes(tensor) for tensor in (*part.parameters(), *part.buffers()))
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }


def working_bytes(pipeline: Any, width: int, height: int) -> int:
    """Estimate what decoding `width` by `height` pixels takes, which is by far the most."""
    decoder = getattr(pipeline, "vae", None)
    if decoder is None:
        return 0
    channels = getattr(decoder.config, "block_out_channels", (128,))[0]
    forced = getattr(decoder.config, "force_upcast", False)
    item = 4 if forced else next(decoder.parameters()).element_size()
    return int(width * height * channels * item * LIVE_MAPS)


def gib(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 2**30:.1f} GiB"


def _bytes(tensor: torch.Tensor) -> int:
    scales = getattr(getattr(tensor, "quant_state", None), "absmax", None)
    return tensor.nbytes + (scales.nbytes if scales is not None else 0)
