"""How much memory a model will take on torch, told from its files before it is loaded."""

from collections.abc import Iterable
from pathlib import Path

from daiic.worker.backend import Backend
from daiic.worker.engines.torch.quantization import compute_dtype
from daiic.worker.engines.torch.weights_plan import automatic, count

WORKING_SHARE = 0.2
WORKING_LEAST = 256 << 20


def weights_bytes(
    files: Iterable[Path],
    backend: Backend,
    quantization: str,
    room: int = 0,
    precision: str = "auto",
) -> int:
    """Return what the weights in the .safetensors `files` take, when they are the most.

    With "auto" they take what fits into `room` bytes, or all that they can if it is 0.

    Raises:
        TaskError: BAD_REQUEST if one is damaged.
    """
    sizes = count(files)
    if quantization == "auto":
        quantization = automatic(sizes, backend, room, precision) if room else "none"
    return sizes.bytes(compute_dtype(backend, precision), quantization)


def with_work(weights: int) -> int:
    """Return what a model takes with caches and work besides `weights` bytes."""
    return weights + max(int(weights * WORKING_SHARE), WORKING_LEAST)
