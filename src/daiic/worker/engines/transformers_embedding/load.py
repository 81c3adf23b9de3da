"""Loading a sentence embedding model."""

from collections.abc import Callable, Iterable
from pathlib import Path

import transformers

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.encoder_engine import EncoderEngine
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.unquantized import (
    LoadWeights,
    expected_weights,
    footprint,
    load_unquantized,
)
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.transformers_embedding import recipe
from daiic.worker.engines.transformers_embedding.dense import load_dense
from daiic.worker.engines.transformers_embedding.embedder import Embedder, Step, unit_length
from daiic.worker.engines.transformers_embedding.probe import capabilities
from daiic.worker.memory.budget import MemoryBudget

__all__ = ["expected_weights", "footprint", "load"]

UNQUANTIZED = "sentence embeddings lose too much by quantisation"


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> EncoderEngine:
    """Load the model in the directory `path` and return the engine that embeds with it.

    Arguments and errors are those of `EngineModule.load`.
    """

    def build(load_weights: LoadWeights) -> EncoderEngine:
        able = capabilities(path)
        steps = recipe.read(path)
        tokenizer = load_tokenizer(path)
        loaded = load_weights(transformers.AutoModel)
        after, width = _after(steps.after, loaded)
        return EncoderEngine(
            loaded,
            Embedder(loaded.model, tokenizer, steps, after, width),
            kind=pb.EMBEDDING,
            work="embed",
            capabilities=able,
            choice="safetensors of a text encoder, which is never quantised",
        )

    return await load_unquantized(build, path, options, budget, progress, UNQUANTIZED)


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
