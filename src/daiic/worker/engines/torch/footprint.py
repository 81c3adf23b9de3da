"""How much memory a model will take, told from its files before it is loaded."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.engines.torch.quantization import compute_dtype
from daiic.worker.engines.torch.weights_plan import count, measure
from daiic.worker.models.catalog import Model
from daiic.worker.models.repository_files import choose_files

WORKING_SHARE = 0.2
WORKING_LEAST = 256 << 20


def expected_footprint(model: Model, backend: Backend, quantization: str) -> int:
    """Return the bytes that `model` needs for weights, caches and work; reads the disk.

    They are those of the GPU's own memory if `backend` has any, else of RAM.

    Raises:
        TaskError: if its weights cannot be used.
    """
    weights = expected_weights(model, backend, quantization)
    return weights + max(int(weights * WORKING_SHARE), WORKING_LEAST)


def expected_weights(model: Model, backend: Backend, quantization: str) -> int:
    """Return the bytes of the weights alone, when they are the most; errors as above."""
    dtype = compute_dtype(backend)  # image models may take another one, of the same size
    if model.kind == pb.IMAGE:
        # A pipeline is quantised when it is whole in RAM.
        in_force = quantization if backend.is_gpu else "none"
        return count(_pipeline_files(model.path)).bytes(dtype, in_force)
    in_force = "none" if model.kind == pb.EMBEDDING else quantization
    return measure(model.path).bytes(dtype, in_force)


def _pipeline_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    names = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
    return [path / name for name in choose_files(path.name, names).weights]
