"""A Whisper in memory: what it makes of a window, step by step."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from daiic.worker.engines.transformers_transcription.features import Features
from daiic.worker.engines.transformers_transcription.vocabulary import Vocabulary


class Hearing:
    """Runs the model; all of its methods block, and belong into one thread."""

    def __init__(self, model: Any, features: Features, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.window = features.samples
        self.positions: int = model.config.max_target_positions
        self._model = model
        self._features = features
        accepted = inspect.signature(type(model).forward).parameters
        # What it is called differs by transformers' version.
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"

    @torch.inference_mode()
    def hear(self, samples: npt.NDArray[np.float32]) -> torch.Tensor:
        """Return the encoder's states of a window, [1, places, width]."""
        features = self._features.of(samples).to(self._model.device, self._model.dtype)
        states: torch.Tensor = self._model.model.encoder(features).last_hidden_state
        return states

    @torch.inference_mode()
    def language(self, states: torch.Tensor) -> str:
        """Return which language is most likely spoken in a window."""
        scores = Reading(self, states).read([self.vocabulary.start])[-1]
        known = self.vocabulary.languages
        return max(known, key=lambda code: float(scores[known[code]])) if known else "en"

    @torch.inference_mode()
    def attention(self, states: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Return where in a window each of `tokens` is heard: [heads, tokens, places].

        The heads are those that the model's publisher names for it, else the upper half.
        """
        usual = self._model.config._attn_implementation
        self._model.set_attn_implementation("eager")  # the others do not tell
        try:
            told = self._run(states, tokens, use_cache=False, output_attentions=True)
        finally:
            self._model.set_attn_implementation(usual)
        layers = told.cross_attentions
        heads = [
            (layer, head)
            for layer, head in self._named_heads()
            if 0 <= layer < len(layers) and 0 <= head < layers[layer].shape[1]
        ] or [
            (layer, head)
            for layer in range(len(layers) // 2, len(layers))
            for head in range(layers[layer].shape[1])
        ]
        return torch.stack([layers[layer][0, head].float().cpu() for layer, head in heads])

    def _named_heads(self) -> list[tuple[int, int]]:
        named = getattr(self._model.generation_config, "alignment_heads", None) or []
        pairs = [tuple(pair) for pair in named if isinstance(pair, list | tuple)]
        return [p for p in pairs if len(p) == 2 and all(isinstance(n, int) for n in p)]

    def _run(self, states: torch.Tensor, tokens: Sequence[int], **more: Any) -> Any:
        ids = torch.tensor([list(tokens)], device=self._model.device)
        return self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states), decoder_input_ids=ids, **more
        )


class Reading:
    """A window's tokens as far as the decoder has read them."""

    def __init__(self, hearing: Hearing, states: torch.Tensor) -> None:
        self._hearing = hearing
        self._states = states
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    @torch.inference_mode()
    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read `tokens` after those before; return what may follow each, [tokens, vocabulary]."""
        cache = {self._hearing._cache_name: self._cache}
        told = self._hearing._run(self._states, tokens, use_cache=True, **cache)
        logits: torch.Tensor = told.logits[0].float()
        return logits
