"""How many tokens the cache of a batch holds: few at first, more when texts need them.

What a model could use one day is memory that other models cannot have today.
"""

from collections.abc import Callable
from typing import Any

import torch

from daiic.worker.engines.transformers_text.batch import PAGE
from daiic.worker.engines.transformers_text.storage import storage_bytes
from daiic.worker.memory.budget import MemoryBudget

SHARE = 0.5
"""Of the memory that is free, for a cache to grow by."""

START_BYTES = 64 << 20
START_LEAST, START_MOST = 1024, 8192
"""A cache begins with so many bytes, but not with fewer or more tokens."""

MEASURED = (8, 40)
"""Lengths of the texts at which a cache is measured."""

RESERVE = 256
"""Tokens of its answer that a text is expected to need when it begins."""


class Growth:
    """The size of one model's cache in tokens, within what memory allows."""

    def __init__(self, start: int, most: int, token_bytes: float, spare: Callable[[], int]) -> None:
        """`spare` tells how many bytes are free now, `most` bounds the tokens of all texts."""
        self.start = start
        self._most = most
        self._token_bytes = token_bytes
        self._spare = spare

    def capacity(self, now: int, needed: int) -> int:
        """Return the capacity to have for `needed` tokens, where it is `now` less than that.

        It at least doubles, so that a text that becomes long is not moved
        often. It is less than `needed` where memory does not allow it.
        """
        affordable = now + int(max(self._spare(), 0) * SHARE / self._token_bytes)
        wanted = max(2 * now, needed + PAGE)
        return max(now, min(wanted, affordable, self._most) // PAGE * PAGE)


def spare(budget: MemoryBudget, *, on_gpu: bool, held: Callable[[], int]) -> Callable[[], int]:
    """Return what tells how many bytes the caches of a model may still take.

    `held` tells how many the model has, weights and caches together.
    """

    def measure() -> int:
        now = budget.again() if budget.again is not None else budget
        free = now.vram_bytes if on_gpu else now.ram_bytes
        return free if budget.again is not None else free - held()

    return measure


def start(model: Any, fitting: int) -> int:
    """Return with how many tokens a cache begins, `fitting` at most."""
    wanted = min(max(int(START_BYTES / token_bytes(model)), START_LEAST), START_MOST)
    return max(min(wanted, fitting) // PAGE, 1) * PAGE


def token_bytes(model: Any) -> int:
    """Return about how many bytes one token's keys and values take in all layers.

    It is what a model takes whose layers are all alike; others take less.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or getattr(
        config, "num_attention_heads", 1
    )
    return int(2 * config.num_hidden_layers * heads * head_width(config) * model.dtype.itemsize)


@torch.inference_mode()
def measured_token_bytes(model: Any) -> float:
    """Return the bytes by which the model's own cache grows for a token; runs the model."""
    taken = []
    for length in MEASURED:
        outputs = model(
            input_ids=torch.ones(1, length, dtype=torch.long, device=model.device), use_cache=True
        )
        cache = next((value for value in outputs.values() if hasattr(value, "reorder_cache")), None)
        taken.append(storage_bytes(cache) if cache is not None else 0)
    return max((taken[1] - taken[0]) / (MEASURED[1] - MEASURED[0]), 1.0)


def working_bytes(model: Any) -> int:
    """Return the bytes that attention takes for a moment for each token in the cache.

    They are keys and values that were read from it and repeated for all query
    heads, and an index.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 1)
    return int(3 * heads * head_width(config) * model.dtype.itemsize + 8)


def head_width(config: Any) -> int:
    """Return the width of a key or a value."""
    width = getattr(config, "head_dim", None)
    if width is None:
        width = config.hidden_size // getattr(config, "num_attention_heads", 1)
    return int(width)
