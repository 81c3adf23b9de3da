"""Loading a sentence embedding model."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import transformers

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch import weights
from daiic.worker.engines.torch.encoder_engine import EncoderEngine
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.footprint import weights_bytes, with_work
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.torch.weights_plan import files_of
from daiic.worker.engines.transformers_embedding import recipe
from daiic.worker.engines.transformers_embedding.dense import load_dense
from daiic.worker.engines.transformers_embedding.embedder import Embedder, Step, unit_length
from daiic.worker.engines.transformers_embedding.probe import capabilities
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model

UNQUANTIZED = "sentence embeddings lose too much by quantisation"


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`."""
    return with_work(expected_weights(model, options))


def expected_weights(model: Model, options: LoadOptions) -> int:
    """Return the bytes of the weights of `model`, which are never quantised.

    Raises:
        TaskError: if they cannot be used.
    """
    return weights_bytes(files_of(model.path), options.backend, "none", precision=options.precision)


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> EncoderEngine:
    """Load the model in the directory `path` and return the engine that embeds with it.

    It is never quantised. Arguments and errors are those of `EngineModule.load`.
    """
    loop = asyncio.get_running_loop()

    def tell(done: float) -> None:
        loop.call_soon_threadsafe(progress, done)

    def work() -> tuple[Weights, Embedder]:
        steps = recipe.read(path)
        tokenizer = load_tokenizer(path)
        loaded = weights.load(
            transformers.AutoModel,
            path,
            backend=options.backend,
            quantization="none",
            precision=options.precision,
            budget=budget,
            ram_offload=options.ram_offload,
            progress=tell,
        )
        after, width = _after(steps.after, loaded)
        return loaded, Embedder(loaded.model, tokenizer, steps, after, width)

    with translated():
        able = await asyncio.to_thread(capabilities, path)
        loaded, embedder = await asyncio.to_thread(work)
    if options.quantization not in ("auto", "none"):
        loaded.fallback = UNQUANTIZED
    return EncoderEngine(
        loaded,
        embedder,
        kind=pb.EMBEDDING,
        work="embed",
        capabilities=able,
        choice="safetensors of a text encoder, which is never quantised",
    )


def _after(steps: Iterable[str | Path], loaded: Weights) -> tuple[list[Step], int]:
    """Return what is done with pooled vectors, on the model's device, and how long they are then.

    Counts it to the model's memory.
    """
    after: list[Step] = []
    width = loaded.model.config.get_text_config().hidden_size
    for step in steps:
        if isinstance(step, Path):
            dense = load_dense(step, width)
            width = dense[0].out_features
            loaded.footprint += sum(weight.nbytes for weight in dense.parameters())
            after.append(dense.to(loaded.model.device))
        else:
            after.append(unit_length)
    return after, width
