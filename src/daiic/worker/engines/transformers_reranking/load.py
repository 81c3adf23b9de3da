"""Loading a cross-encoder."""

import asyncio
from collections.abc import Callable
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
from daiic.worker.engines.transformers_reranking import recipe
from daiic.worker.engines.transformers_reranking.probe import CAPABILITIES
from daiic.worker.engines.transformers_reranking.reranker import Reranker
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model

UNQUANTIZED = "scores lose too much by quantisation"


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`."""
    files = files_of(model.path)
    return with_work(weights_bytes(files, options.backend, "none", precision=options.precision))


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> EncoderEngine:
    """Load the model in the directory `path` and return the engine that ranks texts with it.

    It is never quantised. Arguments and errors are those of `EngineModule.load`.
    """
    loop = asyncio.get_running_loop()

    def tell(done: float) -> None:
        loop.call_soon_threadsafe(progress, done)

    def work() -> tuple[Weights, Reranker]:
        steps = recipe.read(path)
        tokenizer = load_tokenizer(path)
        loaded = weights.load(
            transformers.AutoModelForSequenceClassification,
            path,
            backend=options.backend,
            quantization="none",
            precision=options.precision,
            budget=budget,
            ram_offload=options.ram_offload,
            progress=tell,
        )
        return loaded, Reranker(loaded.model, tokenizer, steps)

    with translated():
        loaded, reranker = await asyncio.to_thread(work)
    if options.quantization not in ("auto", "none"):
        loaded.fallback = UNQUANTIZED
    return EncoderEngine(
        loaded,
        reranker,
        kind=pb.RERANKING,
        work="rerank",
        capabilities=CAPABILITIES,
        choice="safetensors of a cross-encoder, which is never quantised",
    )
