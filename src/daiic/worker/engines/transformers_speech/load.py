"""Loading a model that makes speech."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch
import transformers

from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.footprint import with_work
from daiic.worker.engines.torch.unquantized import LoadWeights, load_unquantized
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.torch.weights_plan import count, files_of
from daiic.worker.engines.transformers_speech.engine import SpeechEngine
from daiic.worker.engines.transformers_speech.letters import read_letters
from daiic.worker.engines.transformers_speech.speaker import Speaker
from daiic.worker.engines.transformers_speech.voices import read_voices
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model
from daiic.worker.models.model_json import bad_file

UNQUANTIZED = "voices are small, and lose too much by quantisation"
RATES = range(4000, 192_001)
MOST_OF_A_FRAME = 4096
"""Samples; published models have 256."""


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`."""
    return with_work(count(files_of(model.path)).bytes(torch.float32, "none"))


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> SpeechEngine:
    """Load the model in the directory `path` and return the engine that speaks with it.

    It computes in float32 everywhere: what rounding does to the phase of a
    sound is heard. Arguments and errors are those of `EngineModule.load`.
    """

    def build(load_weights: LoadWeights) -> SpeechEngine:
        loaded = load_weights(transformers.VitsModel, ram_offload=False)
        _in_float32(loaded)
        config = loaded.model.config
        _check(path, config)
        letters = read_letters(path, config.vocab_size)
        voices = read_voices(path, config.num_speakers)
        return SpeechEngine(loaded, Speaker(loaded.model), letters, voices)

    return await load_unquantized(build, path, options, budget, progress, UNQUANTIZED)


def _in_float32(loaded: Weights) -> None:
    loaded.model.float()
    loaded.footprint = loaded.model.get_memory_footprint()


def _check(path: Path, config: Any) -> None:
    """Refuse rates with which a sentence would take any amount of memory."""
    steps = config.upsample_rates
    fits = (
        type(config.sampling_rate) is int
        and config.sampling_rate in RATES
        and all(type(step) is int and step > 0 for step in steps)
        and prod(steps) <= MOST_OF_A_FRAME
        and config.num_speakers >= 1
    )
    if not fits:
        raise bad_file(path / "config.json", "has rates of samples that no voice has")
