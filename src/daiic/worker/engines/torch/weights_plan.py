"""What a transformers model needs, and what goes to which card and what to RAM."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.engines.torch import quantization as quantizing
from daiic.worker.memory.budget import MemoryBudget

WEIGHTS_SHARE = 0.8
"""Of the budget; the rest is for caches and for what a forward pass needs."""

_NEVER_QUANTISED = re.compile(r"embed|lm_head|\.experts\.")
"""In names of tensors. transformers stacks the matrices of a mixture's experts, and bitsandbytes
quantises single ones only."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many numbers a checkpoint holds: in matrices that can be quantised, and in all."""

    matrices: int
    total: int

    def bytes(self, dtype: torch.dtype, quantization: str) -> int:
        """Return what the weights take, with what is not quantised in `dtype`."""
        quantized = self.matrices if quantization != "none" else 0
        per_weight = quantizing.BYTES_PER_WEIGHT.get(quantization, 0.0)
        return int((self.total - quantized) * dtype.itemsize + quantized * per_weight)


def measure(path: Path) -> Sizes:
    """Return the sizes of the model in the directory `path`.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, BAD_REQUEST if they are damaged.
    """
    return count(files_of(path))


def files_of(path: Path) -> list[Path]:
    """Return the files with the weights of the model in the directory `path`.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors.
    """
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise TaskError(
            pb.UNSAFE_WEIGHTS,
            f"{path.name} has no .safetensors weights",
            "choose a model, or a revision of it, that is published as safetensors",
        )
    return files


def count(files: Iterable[Path]) -> Sizes:
    """Return the sizes of what the .safetensors `files` hold together; reads their headers.

    Raises:
        TaskError: BAD_REQUEST if one is damaged.
    """
    matrices = total = 0
    for file in files:
        try:
            with safe_open(file, framework="pt") as checkpoint:
                for name in checkpoint.keys():  # noqa: SIM118 - it is no mapping
                    shape = checkpoint.get_slice(name).get_shape()
                    total += prod(shape)
                    if len(shape) == 2 and not _NEVER_QUANTISED.search(name):
                        matrices += prod(shape)
        except SafetensorError as error:
            raise TaskError(
                pb.BAD_REQUEST, f"{file.name} is damaged: {error}", "download the model again"
            ) from error
    return Sizes(matrices, total)


def automatic(sizes: Sizes, backend: Backend, room: int, precision: str = "auto") -> str:
    """Return the most exact of "none", "8bit" and "4bit" that fits into `room` bytes.

    Caches and work are left their share. It is "4bit" if nothing fits.
    """
    dtype = quantizing.compute_dtype(backend, precision)
    if _may_give_way(backend, precision):
        dtype = torch.bfloat16
    for quantization in ("none", "8bit"):
        if sizes.bytes(dtype, quantization) <= room * WEIGHTS_SHARE:
            return quantization
    return "4bit"


def plan(
    path: Path,
    sizes: Sizes,
    backend: Backend,
    quantization: str,
    budget: MemoryBudget,
    ram_offload: bool,
    precision: str = "auto",
) -> tuple[torch.dtype, dict[str, Any]]:
    """Return the precision, and the arguments that tell `from_pretrained` what goes where.

    Raises:
        TaskError: OUT_OF_MEMORY if the budget is too small.
    """
    dtype = quantizing.compute_dtype(backend, precision)
    if not backend.is_gpu:
        room = int(budget.ram_bytes * WEIGHTS_SHARE)
        if _may_give_way(backend, precision) and sizes.bytes(dtype, quantization) > room:
            dtype = torch.bfloat16
        needed = sizes.bytes(dtype, quantization)
        if needed > room:
            raise too_big(path, f"it needs {_gib(needed)} of RAM, {_gib(room)} are free for it")
        return dtype, {"device_map": {"": "cpu"}}
    needed = sizes.bytes(dtype, quantization)
    room = int(budget.vram_bytes * WEIGHTS_SHARE)
    rooms = _rooms(backend, budget)
    widest = max(rooms, key=rooms.__getitem__)
    if needed <= rooms[widest]:
        return dtype, {"device_map": {"": torch.device("cuda", widest)}}
    if len(rooms) > 1 and needed <= room and not ram_offload:
        return dtype, {"device_map": "auto", "max_memory": rooms}
    if not ram_offload:
        raise too_big(path, f"it needs {_gib(needed)} of GPU memory, {_gib(room)} are free for it")
    if sizes.bytes(dtype, "none") > room + budget.ram_bytes:
        raise too_big(
            path,
            f"it needs {_gib(needed)}, GPU and RAM have {_gib(room + budget.ram_bytes)} for it",
        )
    return dtype, {"device_map": "auto", "max_memory": {**rooms, "cpu": budget.ram_bytes}}


def _rooms(backend: Backend, budget: MemoryBudget) -> dict[int, int]:
    """Return what weights may take of each card, by torch's number of it."""
    if len(budget.cards) != len(backend.cards) or not backend.cards:
        return {backend.device.index or 0: int(budget.vram_bytes * WEIGHTS_SHARE)}
    return {
        card.index: int(free * WEIGHTS_SHARE)
        for card, free in zip(backend.cards, budget.cards, strict=True)
    }


def _may_give_way(backend: Backend, precision: str) -> bool:
    """Whether what does not fit in float32 is kept in bfloat16: on CPUs, if neither is set."""
    return not backend.is_gpu and precision == "auto"


def too_big(path: Path, what: str) -> TaskError:
    """Return the refusal of a model that needs more memory than there is."""
    return TaskError(
        pb.OUT_OF_MEMORY,
        f"{path.name} does not fit: {what}",
        'set quantization = "4bit", ram_offload = true, or choose a smaller model',
    )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
