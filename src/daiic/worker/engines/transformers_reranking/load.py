"""Loading a cross-encoder."""

from collections.abc import Callable
from pathlib import Path

import transformers

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.encoder_engine import EncoderEngine
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.unquantized import LoadWeights, footprint, load_unquantized
from daiic.worker.engines.transformers_reranking import recipe
from daiic.worker.engines.transformers_reranking.probe import CAPABILITIES
from daiic.worker.engines.transformers_reranking.reranker import Reranker
from daiic.worker.memory.budget import MemoryBudget

__all__ = ["footprint", "load"]

UNQUANTIZED = "scores lose too much by quantisation"


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> EncoderEngine:
    """Load the model in the directory `path` and return the engine that ranks texts with it.

    Arguments and errors are those of `EngineModule.load`.
    """

    def build(load_weights: LoadWeights) -> EncoderEngine:
        steps = recipe.read(path)
        tokenizer = load_tokenizer(path)
        loaded = load_weights(transformers.AutoModelForSequenceClassification)
        return EncoderEngine(
            loaded,
            Reranker(loaded.model, tokenizer, steps),
            kind=pb.RERANKING,
            work="rerank",
            capabilities=CAPABILITIES,
            choice="safetensors of a cross-encoder, which is never quantised",
        )

    return await load_unquantized(build, path, options, budget, progress, UNQUANTIZED)
