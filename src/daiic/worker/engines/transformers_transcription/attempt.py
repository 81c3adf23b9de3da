"""One try at a window, at one temperature, token by token."""

import zlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from daiic.worker.engines.transformers_text.noise import gumbel, key
from daiic.worker.engines.transformers_transcription.hearing import Hearing, Reading

LEAST_LOGPROB = -1.0
MOST_COMPRESSION = 2.4
SILENT = 0.6
"""Beyond which OpenAI's Whisper takes a try for failed, or a window for silent."""


def compression(text: str) -> float:
    """Return how many times shorter zlib makes `text`: the more it repeats itself, the shorter."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


class Attempt:
    """The tokens of a window as far as they are chosen; `no_speech` is known after the first."""

    def __init__(
        self,
        hearing: Hearing,
        states: torch.Tensor,
        opening: Sequence[int],
        temperature: float,
        seed: int,
        text_of: Callable[[Sequence[int]], str],
    ) -> None:
        """`opening` are the tokens before those that are chosen, of the prompt and of the task."""
        vocabulary = hearing.vocabulary
        self.temperature = temperature
        self.tokens: list[int] = []
        self.ended = False
        self.no_speech = 0.0
        self._vocabulary = vocabulary
        self._reading = Reading(hearing, states)
        self._next = list(opening)
        self._most = min(hearing.positions // 2, hearing.positions - len(opening) - 1)
        self._seed = seed
        self._text_of = text_of
        self._logprob = 0.0
        self._times = WhisperTimeStampLogitsProcessor(
            SimpleNamespace(
                no_timestamps_token_id=vocabulary.no_times,
                eos_token_id=vocabulary.end,
                bos_token_id=vocabulary.end,
                max_initial_timestamp_index=vocabulary.latest_start,
            ),
            begin_index=0,
        )

    @property
    def mean_logprob(self) -> float:
        """Of the tokens so far, with the one that ends them."""
        return self._logprob / (len(self.tokens) + 1)

    @property
    def compression(self) -> float:
        """Of the text so far."""
        return compression(self._text_of(self.tokens))

    @property
    def is_good(self) -> bool:
        """Whether what there is so far is what the model heard, as far as that shows."""
        return self.mean_logprob >= LEAST_LOGPROB and self.compression <= MOST_COMPRESSION

    @property
    def is_silent(self) -> bool:
        """Whether most likely nothing was said at all."""
        return self.no_speech > SILENT and self.mean_logprob < LEAST_LOGPROB

    @torch.inference_mode()
    def step(self) -> None:
        """Choose the next token; blocks."""
        vocabulary = self._vocabulary
        scores = self._reading.read(self._next)
        if not self.tokens:
            at = self._next.index(vocabulary.start)
            self.no_speech = float(scores[at].softmax(-1)[vocabulary.no_speech])
        likely = scores[-1:].cpu()
        likely[:, list(vocabulary.never)] = -torch.inf
        if not self.tokens:
            likely[:, list(vocabulary.never_first)] = -torch.inf
        likely[:, vocabulary.first_time + vocabulary.times + 1 :] = -torch.inf
        ids = torch.tensor([self.tokens], dtype=torch.long)
        likely = self._times(ids, likely)[0].log_softmax(-1)
        choice = likely
        if self.temperature > 0:
            at_place = torch.tensor(key(self._seed, len(self.tokens)))
            choice = likely / self.temperature + gumbel(at_place, torch.arange(len(likely)))
        token = int(choice.argmax())
        self._logprob += float(likely[token])
        if token == vocabulary.end:
            self.ended = True
            return
        self.tokens.append(token)
        self._next = [token]
        self.ended = len(self.tokens) >= self._most
