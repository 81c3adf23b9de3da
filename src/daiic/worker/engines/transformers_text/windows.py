"""The cache of layers with sliding windows, fitted for CPUs.

transformers puts the new keys and values of a step among the old ones by a mask
over all of them, which a CPU walks through number by number in one thread: for
eight texts of 300 tokens, of Gemma 3's width, that takes 0.75 ms for each layer's
keys and again for its values. To copy the new ones alone, to the same places,
takes 0.1 ms. Older versions of transformers have no class for these layers, and
do as they do.
"""

from typing import Any

import torch
from transformers.generation.continuous_batching import cache

try:
    from transformers.generation.continuous_batching.cache_allocators.sliding_attention import (
        SlidingAttentionCacheAllocator,
    )
except ModuleNotFoundError:
    SlidingAttentionCacheAllocator = object


class WindowCache(SlidingAttentionCacheAllocator):  # type: ignore[misc]
    """Keys and values of the layers that see a window of a text only."""

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        read_index: torch.Tensor,
        write_index: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the states of new tokens, [tokens, heads, width]; return them with all before."""
        # What the library may one day call otherwise is then left to it.
        views: Any = getattr(self, "_kv_token_views", None)
        if views is None or not read_index.numel() or key_states.device.type != "cpu":
            stored: tuple[torch.Tensor, torch.Tensor] = super().update(
                key_states, value_states, layer_idx, read_index, write_index
            )
            return stored
        places = (read_index == self.sentinel_index).nonzero().squeeze(1)
        whole = []
        for held, new in zip(views[layer_idx], (key_states, value_states), strict=True):
            # Read first: a new state may take the place of the oldest in the window.
            whole.append(held.index_select(0, read_index).index_copy_(0, places, new))
            held.index_copy_(0, write_index, new)
        return whole[0], whole[1]


def register() -> None:
    """Let the manager make such caches from now on, if this version of transformers can."""
    if SlidingAttentionCacheAllocator is not object:
        cache.ATTN_TYPE_TO_ALLOCATOR[WindowCache.layer_type] = WindowCache
