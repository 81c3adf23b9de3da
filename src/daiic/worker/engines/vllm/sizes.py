"""How much of what a model gets from vLLM: context, tasks at once, bytes for keys and values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from daiic.worker.engines.vllm.program import GIB

LONGEST = 32768
"""Tokens of one task's context, however many the model could take."""
USUAL = 2048
"""Tokens that a task is expected to take; the cache is shared, so that one may take more."""
LEAST_CONTEXT = 256
WORK = 2 * GIB
"""Bytes beside weights and cache: three processes with torch in them, or what a card computes."""
MOST = 1 << 20
"""Of layers, heads or their width: more is a mistake, or meant to harm."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model's configuration says of its texts: `context` tokens of `token_bytes` each.

    Its attention has so many `heads`, which cards share evenly. `known` is the context that the
    model itself can take.
    """

    context: int
    known: int
    token_bytes: int
    heads: int

    def part(self, machines: int) -> "Shape":
        """Return what one of several machines has of it, which share the layers."""
        return replace(self, token_bytes=-(-self.token_bytes // machines))


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a model gets: a text's `context`, and `cache_bytes` on all cards together."""

    context: int
    cache_bytes: int


def shape_of(config: Mapping[str, Any], *, value_bytes: int = 2) -> Shape:
    """Return what `config`, a config.json, says; a key or a value has `value_bytes`.

    Layers that are not alike, or keep less, are taken for the usual ones, which take the most.
    """
    nested = config.get("text_config")
    text = nested if isinstance(nested, Mapping) else config
    heads = _number(text, "num_attention_heads", "n_head") or 1
    width = _number(text, "head_dim") or _number(text, "hidden_size", "n_embd") // heads
    layers = _number(text, "num_hidden_layers", "n_layer")
    pairs = _number(text, "num_key_value_heads") or heads
    known = _number(text, "max_position_embeddings", "n_positions", most=1 << 30) or LONGEST
    return Shape(
        min(known, LONGEST), known, max(2 * layers * pairs * width * value_bytes, 1), heads
    )


def expected(shape: Shape, slots: int) -> int:
    """Return the bytes that the cache has if there is memory for it."""
    return max(shape.context, slots * USUAL) * shape.token_bytes


def fitted(shape: Shape, slots: int, room: int, *, in_ram: bool) -> Sizes | None:
    """Return what fits into `room` bytes beside weights and work, `None` if nothing of use does.

    In RAM, vLLM takes a cache of whole GiB.
    """
    cache = min(expected(shape, slots), room)
    if in_ram:
        cache = min(-(-cache // GIB), max(room, 0) // GIB) * GIB
    context = min(shape.context, max(cache, 0) // shape.token_bytes)
    if context < min(shape.known, LEAST_CONTEXT):
        return None
    return Sizes(context, cache)


def _number(config: Mapping[str, Any], *names: str, most: int = MOST) -> int:
    """Return the first of `names` in `config` that is a number of use, else 0."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and 0 < value <= most:
            return value
    return 0
