"""Choosing the next tokens of texts of which each has parameters of its own.

The choice is made the largest in its row of scores, which is what is taken. It
depends on the row, its parameters and its key, and on no other row. There are
two ways, which choose alike: one looks at what the numbers are, and computes
no more than these need; the other never waits for a number, so that its work
may be given to a card long before it is done, or be recorded.
"""

import torch

from daiic.worker.engines.transformers_text.noise import gumbel
from daiic.worker.engines.transformers_text.sampling import Chances

CANDIDATES = 128
"""How many of the likeliest tokens are looked at first for top_p alone."""

MORE = 8
"""Factor by which more tokens are looked at while these do not reach top_p."""


def choose(scores: torch.Tensor, chances: Chances) -> None:
    """Make the choice the largest in each row of `scores` [texts, vocabulary], looking."""
    cut = chances.cut
    whole = chances.drawn & ~cut
    for which, way in ((whole, _choose_from_all), (cut, _choose_among_likeliest)):
        rows = which.squeeze(1).nonzero().squeeze(1)
        if len(rows):
            way(scores, rows, chances.of(rows))


def choose_unseen(scores: torch.Tensor, chances: Chances) -> None:
    """Make the choice the largest in each row of `scores`, without waiting for any number."""
    scaled = scores / torch.where(chances.drawn, chances.temperature, 1.0)
    scaled = torch.where(chances.cut, scaled.log_softmax(-1), scaled)
    logits, tokens = scaled.sort(dim=-1, descending=True, stable=True)
    logits = torch.where(chances.cut, _left(logits, chances), logits)
    place = (logits + gumbel(chances.keys, tokens)).argmax(-1, keepdim=True)
    token = tokens.gather(-1, place)
    scores.scatter_(-1, token, torch.where(chances.drawn, torch.inf, scores.gather(-1, token)))


def _choose_from_all(scores: torch.Tensor, rows: torch.Tensor, chances: Chances) -> None:
    logits = scores.index_select(0, rows) / chances.temperature
    logits += gumbel(chances.keys, torch.arange(scores.shape[1], device=scores.device))
    scores.index_copy_(0, rows, logits)


def _choose_among_likeliest(scores: torch.Tensor, rows: torch.Tensor, chances: Chances) -> None:
    logits = (scores.index_select(0, rows) / chances.temperature).log_softmax(-1)
    vocabulary = logits.shape[1]
    by_share = chances.top_k == 0
    most = min(int(chances.top_k.masked_fill(by_share, CANDIDATES).max()), vocabulary)
    top, tokens = logits.topk(most)
    while most < vocabulary:
        reached = top.logsumexp(-1, keepdim=True) >= chances.top_p.log()
        if bool((reached | ~by_share).all()):
            break
        most = min(most * MORE, vocabulary)
        top, tokens = logits.topk(most)
    place = (_left(top, chances) + gumbel(chances.keys, tokens)).argmax(-1, keepdim=True)
    scores[rows, tokens.gather(-1, place).squeeze(-1)] = torch.inf


def _left(top: torch.Tensor, chances: Chances) -> torch.Tensor:
    """Return `top`, the largest log-likelihoods in order, without those that are cut off.

    top_p counts the probability that is left after top_k, and always keeps
    the likeliest token (Holtzman et al., The Curious Case of Neural Text
    Degeneration, 2020).
    """
    rank = torch.arange(top.shape[1], device=top.device)
    by_rank = chances.top_k > 0
    top = top.masked_fill(by_rank & (rank >= chances.top_k), -torch.inf)
    total = torch.where(by_rank, top.logsumexp(-1, keepdim=True), 0.0)
    likelihood = (top - total).exp()
    before = likelihood.cumsum(-1) - likelihood
    return top.masked_fill((before >= chances.top_p) & (rank > 0), -torch.inf)
