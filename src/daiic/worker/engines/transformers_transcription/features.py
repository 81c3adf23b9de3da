"""From samples to what Whisper's encoder takes: logarithms of power in bands of the mel scale."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import WhisperFeatureExtractor

from daiic.worker.media.recordings import RATE
from daiic.worker.models.model_json import bad_file, read_object

MOST_BANDS = 256
LONGEST = 60
"""Seconds of a window; all published ones have 30."""
HOP = 160
"""Samples from one place of the encoder's input to the next; all Whispers have it."""


class Features:
    """Makes what the encoder takes of a window of `samples` samples."""

    def __init__(self, bands: int, seconds: int) -> None:
        self._extractor = WhisperFeatureExtractor(feature_size=bands, chunk_length=seconds)
        self.samples = seconds * RATE

    def of(self, samples: npt.NDArray[np.float32]) -> torch.Tensor:
        """Return [1, bands, places] of `samples`, with silence after those that are too few."""
        made: torch.Tensor = self._extractor(
            samples, sampling_rate=RATE, return_tensors="pt"
        ).input_features
        return made


def read_features(path: Path, config: Any) -> Features:
    """Return how the model in the directory `path` with the configuration `config` hears.

    Raises:
        TaskError: BAD_REQUEST if its files do not fit together.
    """
    file = path / "preprocessor_config.json"
    wanted = read_object(file)
    if wanted is None:
        file = path / "processor_config.json"
        inner = (read_object(file) or {}).get("feature_extractor", {})
        wanted = inner if isinstance(inner, dict) else {}
    bands = wanted.get("feature_size", config.num_mel_bins)
    seconds = wanted.get("chunk_length", config.max_source_positions * 2 * HOP // RATE)
    usual = all(
        wanted.get(name, value) == value
        for name, value in {"hop_length": HOP, "n_fft": 400, "sampling_rate": RATE}.items()
    )
    if not (
        usual
        and type(bands) is type(seconds) is int
        and bands == config.num_mel_bins <= MOST_BANDS
        and 0 < seconds <= LONGEST
        and config.max_source_positions * 2 * HOP == seconds * RATE
    ):
        raise bad_file(file, "does not say how Whispers hear, or does not fit config.json")
    return Features(bands, seconds)
