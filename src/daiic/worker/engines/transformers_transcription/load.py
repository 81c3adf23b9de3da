"""Loading a model that writes down what is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers

from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.unquantized import LoadWeights, footprint, load_unquantized
from daiic.worker.engines.transformers_transcription.engine import TranscriptionEngine
from daiic.worker.engines.transformers_transcription.features import read_features
from daiic.worker.engines.transformers_transcription.hearing import Hearing
from daiic.worker.engines.transformers_transcription.vocabulary import vocabulary_of
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model_json import bad_file

__all__ = ["footprint", "load"]

UNQUANTIZED = "what hears loses too much by quantisation"


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> TranscriptionEngine:
    """Load the model in the directory `path` and return the engine that hears with it.

    Arguments and errors are those of `EngineModule.load`.
    """

    def build(load_weights: LoadWeights) -> TranscriptionEngine:
        tokenizer = load_tokenizer(path)
        loaded = load_weights(transformers.WhisperForConditionalGeneration)
        return TranscriptionEngine(loaded, _hearing(path, loaded.model, tokenizer), tokenizer)

    return await load_unquantized(build, path, options, budget, progress, UNQUANTIZED)


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
