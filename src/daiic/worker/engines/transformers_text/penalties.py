"""Making tokens more or less likely: by name, and for having been there.

Biases are added first, as llama.cpp and vLLM do. repetition_penalty (Keskar et al., CTRL, 2019)
counts the prompt too, as transformers does; presence and frequency penalties
(platform.openai.com/docs/guides/text-generation) count the answer alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import torch

from daiic.worker.engines.transformers_text.rules import Rules


class Penalties:
    """What the `rules` of one text add to and take from its scores, while it grows."""

    def __init__(self, rules: Rules, prompt: Iterable[int]) -> None:
        self._rules = rules
        self._prompt = set(prompt) if rules.repetition_penalty != 1 else set()
        self._made: Counter[int] = Counter()
        self._bias: torch.Tensor | None = None
        self._in_prompt: torch.Tensor | None = None
        self._counts: torch.Tensor | None = None

    def count(self, token: int, times: int) -> None:
        """Take `token` of the answer into account so many `times`, or no longer where negative."""
        self._made[token] += times
        if self._counts is not None:
            self._counts[token] += times

    def apply(self, scores: torch.Tensor) -> None:
        """Change `scores` [vocabulary] by them, in place."""
        rules = self._rules
        if rules.bias:
            if self._bias is None:
                self._bias = _dense(rules.bias, scores)
            scores += self._bias
        if not rules.penalizes:
            return
        if self._counts is None or self._in_prompt is None:
            self._counts = _dense(self._made, scores)
            self._in_prompt = _dense(dict.fromkeys(self._prompt, 1), scores) > 0
        made = self._counts > 0
        if rules.repetition_penalty != 1:
            less = torch.where(
                scores > 0, scores / rules.repetition_penalty, scores * rules.repetition_penalty
            )
            scores.copy_(torch.where(made | self._in_prompt, less, scores))
        scores -= rules.frequency_penalty * self._counts
        scores -= rules.presence_penalty * made


def _dense(values: Mapping[int, float], like: torch.Tensor) -> torch.Tensor:
    """Return the `values` of some tokens, and 0 for all others, as `like` [vocabulary] is."""
    dense = torch.zeros_like(like)
    if values:
        where = torch.tensor(list(values), device=like.device)
        dense[where] = torch.tensor(list(values.values()), dtype=like.dtype, device=like.device)
    return dense
