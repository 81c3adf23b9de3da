"""Packed attention is, for each task, the attention that it would have alone."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

from daiic.worker.engines.transformers_text import attention
from daiic.worker.engines.transformers_text.attention import ROUND, packed_attention, serves
from daiic.worker.engines.transformers_text.explicit_attention import STRIPE

HEADS, KEY_HEADS, WIDTH = 4, 2, 8

QUERIES = st.just(1) | st.integers(1, 6) | st.integers(STRIPE - 1, 2 * STRIPE + 1)
CACHED = st.integers(0, 9) | st.integers(ROUND - 4, 2 * ROUND + 4)
LENGTHS = st.tuples(QUERIES, CACHED).map(lambda n: (n[0], n[0] + n[1]))


def alone(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    window: int,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Return attention by its definition (Vaswani et al., 2017), causal to the last key.

    A query sees `window` keys, its own included.
    """
    key, value = (states.repeat_interleave(HEADS // KEY_HEADS, dim=0) for states in (key, value))
    logits = query @ key.transpose(1, 2) * 0.3
    if softcap is not None:
        logits = softcap * (logits / softcap).tanh()
    seen = torch.ones(query.shape[1], key.shape[1]).tril(key.shape[1] - query.shape[1])
    seen = seen.triu(key.shape[1] - query.shape[1] - window + 1)
    shares = logits.exp() * seen
    nothing = torch.zeros(HEADS) if sinks is None else sinks.exp()
    return (shares / (shares.sum(-1, keepdim=True) + nothing[:, None, None]) @ value).transpose(
        0, 1
    )


@settings(max_examples=200)
@given(
    st.lists(LENGTHS, min_size=1, max_size=8),
    st.booleans(),
    st.none() | st.integers(2, ROUND + 4),
    st.none() | st.floats(0.2, 4),
    st.booleans(),
)
def test_tasks_do_not_see_each_other(
    lengths: list[tuple[int, int]],
    named: bool,
    window: int | None,
    softcap: float | None,
    has_sinks: bool,
) -> None:
    layer = torch.nn.Module()
    sinks = torch.randn(HEADS) if has_sinks else None
    if sinks is not None:
        layer.sinks = sinks
    more: dict[str, Any] = {} if softcap is None else {"softcap": softcap}
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
        **more,
    )
    for task in range(len(lengths)):
        q = slice(int(starts_q[task]), int(starts_q[task + 1]))
        k = slice(int(starts_k[task]), int(starts_k[task + 1]))
        expected = alone(
            query[0, :, q], key[0, :, k], value[0, :, k], window or 1000, softcap, sinks
        )
        assert torch.allclose(answer[0, q], expected, atol=1e-5)


SMALL = {
    "vocab_size": 8,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "pad_token_id": 0,
}
WINDOWS = SMALL | {"sliding_window": 5}


def model(config: Any, implementation: str | None = None) -> Any:
    return AutoModelForCausalLM.from_config(config, attn_implementation=implementation).eval()


@pytest.mark.parametrize(
    ("config", "served"),
    [
        (LlamaConfig(**SMALL), True),
        (Qwen2Config(**SMALL), True),
        (MistralConfig(**SMALL | {"sliding_window": None}), True),
        (MistralConfig(**WINDOWS), True),
        (Gemma3TextConfig(**WINDOWS), True),
        (Gemma2Config(**WINDOWS), True),
        (GptOssConfig(**WINDOWS, num_local_experts=2, num_experts_per_tok=1), True),
        (Llama4TextConfig(**SMALL, intermediate_size_mlp=8, num_local_experts=2), False),
    ],
)
def test_models_whose_attention_is_another_are_not_served(config: Any, served: bool) -> None:
    assert serves(model(config)) == served


def test_a_model_that_was_loaded_without_sdpa_for_no_known_reason_is_not_served() -> None:
    assert not serves(model(LlamaConfig(**SMALL), "eager"))


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**WINDOWS, attn_logit_softcapping=0.1, initializer_range=1.0),
        GptOssConfig(**WINDOWS, num_local_experts=2, num_experts_per_tok=1, initializer_range=1.0),
    ],
    ids=["capped logits", "sinks"],
)
@pytest.mark.parametrize("padded", [False, True])
@torch.inference_mode()
def test_what_is_no_batch_is_as_the_model_has_it(config: Any, padded: bool) -> None:
    """Embeddings are made so, also of several texts of unlike length."""
    one = model(config, "eager")
    tokens = torch.randint(1, 8, (2, STRIPE + 9))
    real = torch.ones_like(tokens)
    if padded:
        real[0, -7:] = 0
    own = one(input_ids=tokens, attention_mask=real, use_cache=False).logits[real == 1]
    attention.register()
    one.set_attn_implementation(attention.NAME)
    ours = one(input_ids=tokens, attention_mask=real, use_cache=False).logits[real == 1]
    assert torch.allclose(ours, own, atol=1e-4)
