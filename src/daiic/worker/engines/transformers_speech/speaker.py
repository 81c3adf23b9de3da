"""A VITS in memory: a sentence's tokens in, its sound out.

Kim, Kong and Son, Conditional Variational Autoencoder with Adversarial Learning for End-to-End
Text-to-Speech, 2021. The steps are those of transformers' VitsModel; here the length is checked
before there is memory for it, and noise comes from the task's seed.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.transformers_speech.seeded_noise import SeededNoise
from daiic.worker.limits import LIMITS

MOST_SECONDS = LIMITS.sentence_seconds


class Speaker:
    """Runs the model; its method blocks, and belongs into one thread."""

    def __init__(self, model: Any) -> None:
        self.rate: int = model.config.sampling_rate
        self._model = model
        self._frame = prod(model.config.upsample_rates)
        self._most = MOST_SECONDS * self.rate // self._frame

    @torch.inference_mode()
    def say(self, tokens: Sequence[int], speaker: int, speed: float, seed: int) -> bytes:
        """Return what `tokens` sound like: 16-bit samples, little-endian, at `rate` a second.

        Raises:
            TaskError: BAD_REQUEST if it would take too long.
        """
        model = self._model
        with SeededNoise(seed):
            ids = torch.tensor([list(tokens)], device=model.device)
            mask = torch.ones(1, len(tokens), 1, dtype=model.dtype, device=model.device)
            who = None
            if model.config.num_speakers > 1:
                who = model.embed_speaker(torch.tensor([speaker], device=model.device))
                who = who.unsqueeze(-1)
            text = model.text_encoder(input_ids=ids, padding_mask=mask)
            durations = self._durations(text.last_hidden_state, mask, who, speed)
            means = text.prior_means.repeat_interleave(durations, 1).transpose(1, 2)
            spread = text.prior_log_variances.repeat_interleave(durations, 1).transpose(1, 2)
            noise = torch.randn_like(means) * spread.exp() * model.noise_scale
            whole = torch.ones(1, 1, means.shape[-1], dtype=model.dtype, device=model.device)
            latents = model.flow(means + noise, whole, who, reverse=True)
            sound = model.decoder(latents, who)[0, 0].float().cpu().numpy()
        sound = np.nan_to_num(sound).clip(-1.0, 1.0)
        samples: bytes = (sound * 32767.0).round().astype("<i2").tobytes()
        return samples

    def _durations(
        self, states: torch.Tensor, mask: torch.Tensor, who: torch.Tensor | None, speed: float
    ) -> torch.Tensor:
        """Return how many frames each token takes."""
        model = self._model
        across = states.transpose(1, 2), mask.transpose(1, 2), who
        if model.config.use_stochastic_duration_prediction:
            told = model.duration_predictor(
                *across, reverse=True, noise_scale=model.noise_scale_duration
            )
        else:
            told = model.duration_predictor(*across)
        frames = torch.ceil(told.exp()[0, 0].float() / (model.speaking_rate * speed))
        total = float(frames.sum())
        if not total <= self._most:  # nor if it is not a number
            raise bad(
                f"a sentence of {len(states[0])} tokens would take more than {MOST_SECONDS} s",
                "make its sentences shorter, or raise `speed`",
            )
        frames = frames.long().clamp(min=0)
        if not total:
            frames[0] = 1
        return frames
