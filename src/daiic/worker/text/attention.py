"""Attention over a packed batch, each task with its own keys, for CPUs.

The batching manager packs the tokens of all tasks into one sequence. Its own
way without flash attention is one product of all queries with all keys
under a mask, so that n tasks cost n times too much; on a CPU that is most of
the time. Here neighbouring tasks of the same length make one product each.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "daiic_packed"


def serves(config: Any, implementation: str) -> bool:
    """Whether a model's layers all attend to everything before, which is what this computes.

    `implementation` is the attention that it was loaded with.
    """
    layers = getattr(config, "layer_types", None)
    if layers is not None:
        only_full = set(layers) == {"full_attention"}
    else:
        only_full = getattr(config, "sliding_window", None) is None
    softcap = getattr(config, "attn_logit_softcapping", None)
    return implementation == "sdpa" and only_full and softcap is None


def register() -> None:
    """Make `NAME` known to transformers as an attention implementation, masked like sdpa."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each task, causally.

    `query` is [1, heads, tokens, width], `key` and `value` [1, fewer heads,
    cached tokens, width]; `cu_seq_lens_q` and `cu_seq_lens_k` say where each
    task begins. Returns [1, tokens, heads, width]. Without them this is
    transformers' ordinary attention.
    """
    if "cu_seq_lens_q" not in kwargs:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    key, value = _with_cached(module, key, value, kwargs)
    starts_q = kwargs["cu_seq_lens_q"].tolist()
    starts_k = _for_full_attention(kwargs["cu_seq_lens_k"]).tolist()
    tasks = len(starts_q) - 1
    answer = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
    first = 0
    while first < tasks:
        queries = starts_q[first + 1] - starts_q[first]
        keys = starts_k[first + 1] - starts_k[first]
        last = first + 1
        while (
            last < tasks
            and starts_q[last + 1] - starts_q[last] == queries
            and starts_k[last + 1] - starts_k[last] == keys
        ):
            last += 1
        begin, end = starts_q[first], starts_q[last]
        answer[begin:end] = _attend(
            _per_task(query, begin, end, queries),
            _per_task(key, starts_k[first], starts_k[last], keys),
            _per_task(value, starts_k[first], starts_k[last], keys),
            scaling,
        )
        first = last
    return answer.unsqueeze(0), None


def _with_cached(
    module: Any, key: torch.Tensor, value: torch.Tensor, kwargs: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all keys and values; until transformers 5.12 attention itself adds the cached."""
    cache = kwargs.get("cache")
    if cache is None:
        return key, value
    key, value = cache.update(
        key_states=key,
        value_states=value,
        layer_idx=module.layer_idx,
        read_index=kwargs["read_index"],
        write_index=kwargs["write_index"],
    )
    return key.transpose(0, 1).unsqueeze(0), value.transpose(0, 1).unsqueeze(0)


def _for_full_attention(starts: Any) -> torch.Tensor:
    found = starts["full_attention"] if isinstance(starts, dict) else starts
    assert isinstance(found, torch.Tensor)
    return found


def _per_task(states: torch.Tensor, begin: int, end: int, length: int) -> torch.Tensor:
    """Return a view [tasks, heads, length, width] of a part of [1, heads, tokens, width]."""
    _, heads, _, width = states.shape
    return states[0, :, begin:end].reshape(heads, -1, length, width).transpose(0, 1)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Return [tokens of all tasks, heads, width]; the last query is that of the last key."""
    tasks, heads, queries, width = query.shape
    keys = key.shape[2]
    if queries == 1:
        # The query heads that share a key head can stand where queries stand.
        query = query.reshape(tasks, key.shape[1], -1, width)
        answer = scaled_dot_product_attention(query, key, value, scale=scaling)
        return answer.reshape(tasks, heads, value.shape[3])
    mask = None
    if queries != keys:
        mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    answer = scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=True
    )
    return answer.transpose(1, 2).flatten(0, 1)
