"""Texts longer than the windows of a model's layers are read and continued from these."""

import asyncio
from typing import Any, NoReturn

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, MistralConfig
from transformers.generation.continuous_batching import cache

from daiic.worker.engines.transformers_text import windows
from daiic.worker.engines.transformers_text.batch import Batch
from daiic.worker.engines.transformers_text.sampling import Sampling

WINDOW = 64
LENGTHS = (3, 60, WINDOW, 200, 900)
"""Of prompts. Three are read together, and then the longest in pieces."""

SHAPE: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "sliding_window": WINDOW,
    "initializer_range": 0.2,
}
CONFIGURATIONS = {
    "all layers": MistralConfig(**SHAPE),
    "every other layer": Gemma3TextConfig(
        **SHAPE, layer_types=["sliding_attention", "full_attention"] * 2
    ),
}

library = pytest.importorskip(
    "transformers.generation.continuous_batching.cache_allocators.sliding_attention",
    reason="this transformers has no class for the cache of windows",
)


async def answers(model: Any) -> list[list[int]]:
    batch = Batch(model, slots=3, capacity=2048)

    async def answer(length: int) -> list[int]:
        prompt = [(place * 31 + length) % 200 for place in range(length)]
        sampling = Sampling(1.0, 0, 1.0, seed=length)
        stream = batch.submit(prompt, sampling, max_tokens=40, end_tokens=())
        made = await stream.new_tokens()
        while not stream.ended:
            made += await stream.new_tokens()
        return made

    try:
        return list(await asyncio.gather(*map(answer, LENGTHS)))
    finally:
        await batch.close()


@pytest.mark.parametrize("layers", CONFIGURATIONS)
async def test_windows_are_put_together_as_the_library_does_but_new_states_alone_are_copied(
    layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGURATIONS[layers]).eval()
    with monkeypatch.context() as patch:
        patch.setattr(windows, "register", lambda: None)
        plain = library.SlidingAttentionCacheAllocator
        patch.setitem(cache.ATTN_TYPE_TO_ALLOCATOR, plain.layer_type, plain)
        expected = await answers(model)

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("all states of the windows are gone through")

    monkeypatch.setattr(torch.Tensor, "masked_scatter_", refuse)
    assert await answers(model) == expected
