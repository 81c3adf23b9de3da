"""A cache in which texts share blocks only with texts of the same adapters.

The batching manager shares the keys and values of texts that begin with the same tokens. With
an adapter they are others. So the tokens of such texts are told to it, where it
looks for what is the same, with a number above all tokens in them.
"""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from transformers.generation.continuous_batching import continuous_api
from transformers.generation.continuous_batching.cache import PagedAttentionCache

BITS = 20
"""Tokens have fewer; a block's tokens are signed numbers of 32 bits to the manager."""
MOST = (1 << 31 >> BITS) - 1
"""Numbers that fit above them. What has a larger one shares nothing."""
MARK = "+"


def request_name(name: str, number: int) -> str:
    """Return how the manager calls the text `name` whose adapters have a `number`, 0 for none."""
    return f"{name}{MARK}{number}" if number else name


class AdaptedCache(PagedAttentionCache):  # type: ignore[misc]
    """Keeps texts apart by what `request_name` says of them."""

    def search_prefix_match(self, request_id: str, prompt_ids: list[int]) -> int:
        """Return how many tokens of a prompt are in the cache already."""
        number = _number(request_id)
        if number > MOST:
            return 0
        return int(super().search_prefix_match(request_id, _marked(prompt_ids, number)))

    def mark_complete_blocks(self, state: Any, complete_blocks: Any) -> None:
        """Note what later texts may share."""
        told = _told(state)
        if told is not None:
            super().mark_complete_blocks(told, complete_blocks)

    def mark_shareable_blocks_as_complete(self, state: Any, num_complete_blocks: int) -> None:
        """Note the same where older versions of transformers do."""
        told = _told(state)
        if told is not None:
            super().mark_shareable_blocks_as_complete(told, num_complete_blocks)


def register() -> None:
    """Let the manager make such caches from now on."""
    continuous_api.PagedAttentionCache = AdaptedCache


def _number(request_id: str) -> int:
    return int(request_id.partition(MARK)[2] or 0)


def _told(state: Any) -> Any:
    """Return what the manager is told of a text; `None` for one that shares nothing."""
    number = _number(state.request_id)
    if not number:
        return state
    if number > MOST:
        return None
    return SimpleNamespace(
        request_id=state.request_id,
        status=state.status,
        initial_tokens=_marked(state.initial_tokens, number),
        generated_tokens=_marked(state.generated_tokens, number),
    )


def _marked(tokens: Iterable[int], number: int) -> list[int]:
    return [token | number << BITS for token in tokens] if number else list(tokens)
