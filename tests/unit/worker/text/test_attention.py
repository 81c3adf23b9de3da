"""Packed attention is, for each task, the attention that it would have alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Gemma2Config, LlamaConfig, MistralConfig, Qwen2Config

from daiic.worker.text.attention import ROUND, packed_attention, serves

HEADS, KEY_HEADS, WIDTH = 4, 2, 8

QUERIES = st.just(1) | st.integers(1, 6)
CACHED = st.integers(0, 9) | st.integers(ROUND - 4, 2 * ROUND + 4)
LENGTHS = st.tuples(QUERIES, CACHED).map(lambda n: (n[0], n[0] + n[1]))


def alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return attention by its definition (Vaswani et al., 2017), causal to the last key."""
    key, value = (states.repeat_interleave(HEADS // KEY_HEADS, dim=0) for states in (key, value))
    weights = query @ key.transpose(1, 2) * 0.3
    seen = torch.ones(query.shape[1], key.shape[1]).tril(key.shape[1] - query.shape[1])
    return (weights.masked_fill(seen == 0, -torch.inf).softmax(-1) @ value).transpose(0, 1)


@settings(deadline=None, max_examples=100)
@given(st.lists(LENGTHS, min_size=1, max_size=8), st.booleans())
def test_tasks_do_not_see_each_other(lengths: list[tuple[int, int]], named: bool) -> None:
    starts_q = torch.tensor([0, *(q for q, _ in lengths)]).cumsum(0)
    starts_k = torch.tensor([0, *(k for _, k in lengths)]).cumsum(0)
    query = torch.randn(1, HEADS, int(starts_q[-1]), WIDTH)
    key, value = (torch.randn(1, KEY_HEADS, int(starts_k[-1]), WIDTH) for _ in range(2))
    answer, _ = packed_attention(
        torch.nn.Module(),
        query,
        key,
        value,
        None,
        scaling=0.3,
        cu_seq_lens_q=starts_q,
        cu_seq_lens_k={"full_attention": starts_k} if named else starts_k,
    )
    for task in range(len(lengths)):
        q = slice(int(starts_q[task]), int(starts_q[task + 1]))
        k = slice(int(starts_k[task]), int(starts_k[task + 1]))
        expected = alone(query[0, :, q], key[0, :, k], value[0, :, k])
        assert torch.allclose(answer[0, q], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "served"),
    [
        (LlamaConfig(), True),
        (Qwen2Config(), True),
        (MistralConfig(sliding_window=None), True),
        (MistralConfig(sliding_window=4096), False),
        (Gemma2Config(), False),
    ],
)
def test_only_models_without_windows_are_served(config: object, served: bool) -> None:
    assert serves(config, "sdpa") == served
    assert not serves(config, "flash_attention_2")
