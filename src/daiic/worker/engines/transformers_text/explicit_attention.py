"""Attention written out, for models whose weights torch's own product cannot compute.

Gemma 2 caps the logits before the softmax; gpt-oss lets each head attend to
nothing, by a sink that takes its share of the softmax.
"""

import torch

STRIPE = 64
"""Most queries of a text whose weights are in memory at once: those of a whole piece of a prompt
would outgrow the cache. What lies ahead of a stripe's queries isn't computed at all."""


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Return [tasks, heads, queries, width]; `query` has that shape too.

    `key` and `value` are [tasks, fewer heads, keys, width], and the last query
    is that of the last key; none sees what is after its own key. `mask` is
    added to the logits, or true for what is seen, and broadcasts to [tasks,
    heads, queries, keys]. `softcap` bounds the logits, `sinks` has a logit for
    each head.
    """
    queries, keys = query.shape[2], key.shape[2]
    if mask is not None and mask.dtype == torch.bool:
        # Not infinite: a query that pads sees nothing, and would make no number.
        mask = query.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(query.dtype).min)
    stripes = []
    for start in range(0, queries, STRIPE):
        end = min(start + STRIPE, queries)
        seen = keys - queries + end
        if mask is not None:
            stripe_mask = mask[..., start:end, :seen]
        elif end - start > 1:
            ahead = keys - queries + start + 1
            stripe_mask = query.new_full((end - start, seen), -torch.inf).triu(ahead)
        else:
            stripe_mask = None
        weights = _weights(
            query[:, :, start:end], key[:, :, :seen], stripe_mask, scaling, softcap, sinks
        )
        stripes.append(_by_key_head(weights, key.shape[1]) @ value[:, :, :seen])
    shape = (*query.shape[:2], -1, value.shape[-1])
    return torch.cat([stripe.reshape(shape) for stripe in stripes], dim=2)


def _weights(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Return [tasks, heads, queries, keys], of the type of `query`."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    product = _by_key_head(query, key.shape[1]) @ key.transpose(2, 3)
    logits = product.reshape(*query.shape[:3], -1) * scale
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if mask is not None:
        logits = logits + mask
    if sinks is None:
        return logits.softmax(-1, dtype=torch.float32).to(query.dtype)
    sink = sinks.to(logits.dtype).reshape(1, -1, 1, 1).expand(*logits.shape[:3], 1)
    shares = torch.cat([logits, sink], dim=-1).softmax(-1, dtype=torch.float32)
    return shares[..., :-1].to(query.dtype)


def _by_key_head(states: torch.Tensor, key_heads: int) -> torch.Tensor:
    """Return [tasks, key heads, rows, width]: what shares a key head stands where queries stand."""
    return states.reshape(states.shape[0], key_heads, -1, states.shape[-1])
