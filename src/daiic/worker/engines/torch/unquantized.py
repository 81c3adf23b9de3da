"""Loading models that are never quantised: encoders, and those that hear and speak."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch import weights
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.footprint import weights_bytes, with_work
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.torch.weights_plan import files_of
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model

Built = TypeVar("Built")


class LoadWeights(Protocol):
    """Loads the weights of the model that is being loaded."""

    def __call__(self, model_class: Any, *, ram_offload: bool = True) -> Weights:
        """Return them in a `model_class` of transformers; in RAM too, if `ram_offload`."""


def expected_weights(model: Model, options: LoadOptions) -> int:
    """Return the bytes that the weights of `model` will take.

    Raises:
        TaskError: if they cannot be used.
    """
    return weights_bytes(files_of(model.path), options.backend, "none", precision=options.precision)


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`."""
    return with_work(expected_weights(model, options))


async def load_unquantized(
    build: Callable[[LoadWeights], Built],
    path: Path,
    options: LoadOptions,
    budget: MemoryBudget,
    progress: Callable[[float], None],
    why: str,
) -> Built:
    """Return what `build` makes, in a thread, of the weights that it has loaded.

    `why` is told where the weights were to be quantised. Other arguments and errors are those of
    `EngineModule.load`.
    """
    loop = asyncio.get_running_loop()

    def tell(done: float) -> None:
        loop.call_soon_threadsafe(progress, done)

    def load(model_class: Any, *, ram_offload: bool = True) -> Weights:
        loaded = weights.load(
            model_class,
            path,
            backend=options.backend,
            quantization="none",
            precision=options.precision,
            budget=budget,
            ram_offload=ram_offload and options.ram_offload,
            progress=tell,
        )
        if options.quantization not in ("auto", "none"):
            loaded.fallback = why
        return loaded

    with translated():
        return await asyncio.to_thread(build, load)
