"""Packed attention is, for each task, the attention that it would have alone."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

from daiic.worker.engines.transformers_text.attention import ROUND, packed_attention, serves

HEADS, KEY_HEADS, WIDTH = 4, 2, 8

QUERIES = st.just(1) | st.integers(1, 6)
CACHED = st.integers(0, 9) | st.integers(ROUND - 4, 2 * ROUND + 4)
LENGTHS = st.tuples(QUERIES, CACHED).map(lambda n: (n[0], n[0] + n[1]))


def alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int) -> torch.Tensor:
    """Return attention by its definition (Vaswani et al., 2017), causal to the last key.

    A query sees `window` keys, its own included.
    """
    key, value = (states.repeat_interleave(HEADS // KEY_HEADS, dim=0) for states in (key, value))
    weights = query @ key.transpose(1, 2) * 0.3
    seen = torch.ones(query.shape[1], key.shape[1]).tril(key.shape[1] - query.shape[1])
    seen = seen.triu(key.shape[1] - query.shape[1] - window + 1)
    return (weights.masked_fill(seen == 0, -torch.inf).softmax(-1) @ value).transpose(0, 1)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(LENGTHS, min_size=1, max_size=8),
    st.booleans(),
    st.none() | st.integers(2, ROUND + 4),
)
def test_tasks_do_not_see_each_other(
    lengths: list[tuple[int, int]], named: bool, window: int | None
) -> None:
    layer = torch.nn.Module()
    kind = "full_attention"
    if window is not None:
        layer.config, kind = SimpleNamespace(sliding_window=window), "sliding_attention"
        # The cache keeps of each task what its first new query sees.
        lengths = [(q, q + min(k - q, window - 1)) for q, k in lengths]
    starts_q = torch.tensor([0, *(q for q, _ in lengths)]).cumsum(0)
    starts_k = torch.tensor([0, *(k for _, k in lengths)]).cumsum(0)
    query = torch.randn(1, HEADS, int(starts_q[-1]), WIDTH)
    key, value = (torch.randn(1, KEY_HEADS, int(starts_k[-1]), WIDTH) for _ in range(2))
    answer, _ = packed_attention(
        layer,
        query,
        key,
        value,
        None,
        scaling=0.3,
        cu_seq_lens_q=starts_q,
        cu_seq_lens_k={kind: starts_k} if named else starts_k,
    )
    for task in range(len(lengths)):
        q = slice(int(starts_q[task]), int(starts_q[task + 1]))
        k = slice(int(starts_k[task]), int(starts_k[task + 1]))
        expected = alone(query[0, :, q], key[0, :, k], value[0, :, k], window or 1000)
        assert torch.allclose(answer[0, q], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "served"),
    [
        (LlamaConfig(), True),
        (Qwen2Config(), True),
        (MistralConfig(sliding_window=None), True),
        (MistralConfig(sliding_window=4096), True),
        (Gemma3TextConfig(), True),
        (Gemma2Config(), False),
        (Llama4TextConfig(), False),
    ],
)
def test_models_whose_attention_is_another_are_not_served(config: object, served: bool) -> None:
    assert serves(config, "sdpa") == served
    assert not serves(config, "flash_attention_2")
