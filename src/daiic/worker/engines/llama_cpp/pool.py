"""How many tokens the cache of a model has, and how many of them one task may take.

llama-server takes the memory of its whole cache when it starts. What it takes other models cannot
have, so it gets no more than is of use, and of what is free beside the weights only a share.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from daiic.worker.models.gguf.choice import CONTEXT
from daiic.worker.models.gguf.description import Gguf

GRAIN = 256
"""llama.cpp rounds the tokens of a cache up to a multiple of it."""
SHARE = 0.25
"""Of the memory that is free beside the weights."""
USUAL = 1024
"""Tokens of a task, prompt and answer together, for which each slot should have room."""

Cost = Callable[[int], int]
"""Returns the bytes that a cache of so many tokens takes."""


@dataclass(frozen=True, slots=True)
class Pool:
    """`tokens` that `slots` tasks share; one of them may have `context`.

    `is_bounded`: with more memory there would be more.
    """

    tokens: int
    context: int
    slots: int
    is_bounded: bool = False


def smallest(model: Gguf, slots: int) -> Pool:
    """Return the least that `model` is run with: room for one task of usual length."""
    context = min(whole_context(model), CONTEXT)
    return Pool(_rounded(context), context, slots, is_bounded=True)


def pool_within(room: int, model: Gguf, slots: int, cost: Cost) -> Pool | None:
    """Return what `model` gets where `room` bytes are free for its cache; `None` if too few.

    It takes no more than SHARE of them, unless that were less than the `smallest`.
    """
    least, context = smallest(model, slots), whole_context(model)
    if cost(least.tokens) > room:
        return None
    most = max(_rounded(context), _rounded(slots * min(USUAL, context)))
    steps = range(GRAIN, most + 1, GRAIN)
    affordable = bisect_right(steps, room * SHARE, key=cost) * GRAIN
    tokens = max(affordable, least.tokens)
    return Pool(tokens, min(context, tokens), slots, is_bounded=tokens < most)


def whole_context(model: Gguf) -> int:
    """Return the tokens that `model` was made for."""
    return model.context_length or CONTEXT


def _rounded(tokens: int) -> int:
    return -(-tokens // GRAIN) * GRAIN
