"""Choosing the next tokens of a batch whose tasks each have parameters of their own.

`Sampler` takes the place of the batching manager's list of logits processors,
or is one of `generate`'s. It makes each row's choice the largest, which is
what either, told not to sample, takes.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from daiic.worker.engines.transformers_text.noise import gumbel, key

CANDIDATES = 128
"""How many of the likeliest tokens are looked at first for top_p alone."""

MORE = 8
"""Factor by which more tokens are looked at while these do not reach top_p."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a task's tokens are chosen: temperature 0 is greedy, top_k 0 and top_p 1 cut nothing."""

    temperature: float
    top_k: int
    top_p: float
    seed: int


@dataclass(slots=True)
class _Rows:
    """The tasks of a batch that are treated alike, as indices and columns of parameters."""

    index: torch.Tensor
    temperature: torch.Tensor
    keys: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    most: int


_Row = tuple[int, int, Sampling]
"""Index, key of the noise, and parameters."""


class Sampler:
    """Chooses tokens, and notes in `stepped_at` when it last did.

    `on_begun` is called with a text's name and how many of its tokens were in
    the cache already, before each of the steps that read its prompt. It works
    for a manager without asynchronous batching, which prepares a batch and
    runs it before it prepares the next.
    """

    tensors_required = 0

    def __init__(
        self, device: torch.device, on_begun: Callable[[str, int], None] = lambda name, cached: None
    ) -> None:
        self._device = device
        self._on_begun = on_begun
        self._whole: _Rows | None = None
        self._cut: _Rows | None = None
        self.stepped_at = time.monotonic()

    @property
    def do_processing(self) -> bool:
        """Whether there is something to draw: the largest is there without the sampler."""
        return self._whole is not None or self._cut is not None

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Accept what `Batch.submit` gives."""

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Fill nothing: there are no static tensors."""

    def prepare_tensor_args(
        self, requests_in_batch: Sequence[Any], arg_storage: torch.Tensor
    ) -> torch.Tensor:
        """Note which texts are in the next batch, in the order of its logits."""
        for request in requests_in_batch:
            if not request.state.generated_tokens:
                before = request.state.position_offset - request.query_length
                self._on_begun(request.state.request_id, before)
        states = [request.state for request in requests_in_batch if request.has_new_token]
        self.expect(
            (
                state.logit_processor_kwargs["sampling"],
                len(state.initial_tokens) + len(state.generated_tokens),
            )
            for state in states
        )
        return arg_storage

    def expect(self, tasks: Iterable[tuple[Sampling, int]]) -> None:
        """Note which texts are in the next batch, row by row, and where the next token goes."""
        whole: list[_Row] = []
        cut: list[_Row] = []
        for row, (sampling, position) in enumerate(tasks):
            if sampling.temperature > 0:
                group = cut if sampling.top_k > 0 or sampling.top_p < 1 else whole
                group.append((row, key(sampling.seed, position), sampling))
        self._whole = self._columns(whole)
        self._cut = self._columns(cut)
        self.stepped_at = time.monotonic()

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: torch.Tensor,
        logits_processor_args: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Make the choice the largest in each row of `scores` [tasks, vocabulary], in place.

        Tasks without a choice, whose prompt goes on, have rows at the end.
        """
        if self._whole is not None:
            choose(scores, self._whole)
        if self._cut is not None:
            choose_among_likeliest(scores, self._cut)
        return scores

    def _columns(self, rows: list[_Row]) -> _Rows | None:
        if not rows:
            return None
        numbers = torch.tensor([(row, noise, wanted.top_k) for row, noise, wanted in rows])
        cuts = torch.tensor([(wanted.temperature, wanted.top_p) for _, _, wanted in rows])
        numbers, cuts = numbers.to(self._device), cuts.to(self._device)
        return _Rows(
            index=numbers[:, 0],
            keys=numbers[:, 1:2],
            top_k=numbers[:, 2:3],
            temperature=cuts[:, 0:1],
            top_p=cuts[:, 1:2],
            most=max(wanted.top_k or CANDIDATES for _, _, wanted in rows),
        )


def choose(scores: torch.Tensor, rows: _Rows) -> None:
    """Let the largest in each of `rows` be a token drawn from the whole vocabulary."""
    logits = scores.index_select(0, rows.index) / rows.temperature
    logits += gumbel(rows.keys, torch.arange(scores.shape[1], device=scores.device))
    scores.index_copy_(0, rows.index, logits)


def choose_among_likeliest(scores: torch.Tensor, rows: _Rows) -> None:
    """Let it be one drawn from the `top_k`, and of those the first `top_p`.

    top_p counts the probability that is left after top_k, and always keeps
    the likeliest token (Holtzman et al., The Curious Case of Neural Text
    Degeneration, 2020).
    """
    logits = (scores.index_select(0, rows.index) / rows.temperature).log_softmax(-1)
    vocabulary = logits.shape[1]
    most = min(rows.most, vocabulary)
    top, tokens = logits.topk(most)
    while most < vocabulary:
        reached = top.logsumexp(-1, keepdim=True) >= rows.top_p.log()
        if bool((reached | (rows.top_k > 0)).all()):
            break
        most = min(most * MORE, vocabulary)
        top, tokens = logits.topk(most)
    rank = torch.arange(most, device=scores.device)
    outside = (rows.top_k > 0) & (rank >= rows.top_k)
    top = top.masked_fill(outside, -torch.inf)
    left = torch.where(rows.top_k > 0, top.logsumexp(-1, keepdim=True), 0.0)
    likelihood = (top - left).exp()
    before = likelihood.cumsum(-1) - likelihood
    top = top.masked_fill((before >= rows.top_p) & (rank > 0), -torch.inf)
    chosen = (top + gumbel(rows.keys, tokens)).argmax(-1, keepdim=True)
    scores[rows.index, tokens.gather(-1, chosen).squeeze(-1)] = torch.inf
