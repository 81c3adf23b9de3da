"""When each word is said, told by where in the window the decoder listens.

Cross-attention is aligned with the text by dynamic time warping, as in OpenAI's Whisper
(github.com/openai/whisper, timing.py); transformers has the two algorithms for it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter
from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_transcription.hearing import Hearing
from daiic.worker.engines.transformers_transcription.passages import Passage
from daiic.worker.engines.transformers_transcription.vocabulary import TIMES_PER_SECOND

FILTER = 7
"""Places over which the median is taken."""
AROUND = 10
"""Places before and after a passage in which its words are looked for, too."""


class _Plain:
    """A tokenizer as `_combine_tokens_into_words` wants it."""

    def __init__(self, tokenizer: Any, end: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = end

    def decode(self, tokens: Sequence[int], decode_with_timestamps: bool = True) -> str:
        text: str = self._tokenizer.backend_tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def word_times(
    hearing: Hearing,
    tokenizer: Any,
    states: torch.Tensor,
    passage: Passage,
    *,
    language: str,
    translate: bool,
) -> list[pb.Word]:
    """Return the words of `passage` with times from the window's beginning; blocks."""
    vocabulary = hearing.vocabulary
    opening = [*vocabulary.opening(language, translate=translate), vocabulary.no_times]
    text = list(passage.text)
    weights = hearing.attention(states, [*opening, *text, vocabulary.end])
    first = max(0, int(passage.start * TIMES_PER_SECOND) - AROUND)
    last = int(np.ceil(passage.end * TIMES_PER_SECOND)) + AROUND
    # A token is listened for where the one before it is read.
    weights = weights[:, len(opening) - 1 : -1, first:last]
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = _median_filter((weights - mean) / deviation.clamp(min=1e-6), FILTER).mean(0)
    rows, places = _dynamic_time_warping(-weights.double().numpy())
    begins = places[np.pad(np.diff(rows), (1, 0), constant_values=1).astype(bool)] + first
    times = np.clip(begins / TIMES_PER_SECOND, passage.start, passage.end)
    spoken = LANGUAGES.get("en" if translate else language, "english")
    plain = _Plain(tokenizer, vocabulary.end)
    words, _, indices = _combine_tokens_into_words(plain, text, spoken)
    return [
        pb.Word(text=word.strip(), start=times[of[0]], end=times[of[-1] + 1])
        for word, of in zip(words, indices, strict=True)
        if of and word.strip()
    ]
