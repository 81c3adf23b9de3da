"""Loading a model that writes down what is said."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers

from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch import weights
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.footprint import weights_bytes, with_work
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.torch.weights_plan import files_of
from daiic.worker.engines.transformers_transcription.engine import TranscriptionEngine
from daiic.worker.engines.transformers_transcription.features import read_features
from daiic.worker.engines.transformers_transcription.hearing import Hearing
from daiic.worker.engines.transformers_transcription.vocabulary import vocabulary_of
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model
from daiic.worker.models.model_json import bad_file

UNQUANTIZED = "what hears loses too much by quantisation"


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`."""
    return with_work(
        weights_bytes(files_of(model.path), options.backend, "none", precision=options.precision)
    )


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> TranscriptionEngine:
    """Load the model in the directory `path` and return the engine that hears with it.

    It is never quantised. Arguments and errors are those of `EngineModule.load`.
    """
    loop = asyncio.get_running_loop()

    def tell(done: float) -> None:
        loop.call_soon_threadsafe(progress, done)

    def work() -> tuple[Weights, Hearing, Any]:
        tokenizer = load_tokenizer(path)
        loaded = weights.load(
            transformers.WhisperForConditionalGeneration,
            path,
            backend=options.backend,
            quantization="none",
            precision=options.precision,
            budget=budget,
            ram_offload=options.ram_offload,
            progress=tell,
        )
        return loaded, _hearing(path, loaded.model, tokenizer), tokenizer

    with translated():
        loaded, hearing, tokenizer = await asyncio.to_thread(work)
    if options.quantization not in ("auto", "none"):
        loaded.fallback = UNQUANTIZED
    return TranscriptionEngine(loaded, hearing, tokenizer)


def _hearing(path: Path, model: Any, tokenizer: Any) -> Hearing:
    config = model.config
    features = read_features(path, config)
    try:
        vocabulary = vocabulary_of(
            tokenizer, model.generation_config, config.vocab_size, config.max_source_positions
        )
    except ValueError as error:
        raise bad_file(path / "tokenizer.json", f"is no Whisper's: {error}") from error
    return Hearing(model, features, vocabulary)
