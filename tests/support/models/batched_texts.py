"""Prints the version of transformers, and the texts that batches of models make with it."""

import asyncio
import json
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, MistralConfig

from daiic.worker.engines.transformers_text.batch import Batch
from daiic.worker.engines.transformers_text.sampling import Sampling

SHAPE: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}


async def texts(config: Any) -> list[list[int]]:
    torch.manual_seed(3)
    batch = Batch(AutoModelForCausalLM.from_config(config).eval(), slots=3, capacity=384)

    async def text(length: int) -> list[int]:
        prompt = [(place * 31 + length) % 200 for place in range(length)]
        sampling = Sampling(float(length > 3), 0, 0.9, seed=length)
        stream = batch.submit(prompt, sampling, max_tokens=20, end_tokens=())
        made = await stream.new_tokens()
        while not stream.ended:
            made += await stream.new_tokens()
        return made

    try:
        return list(await asyncio.gather(*map(text, (3, 60, 200))))
    finally:
        await batch.close()


async def main() -> None:
    torch.set_num_threads(1)
    two_kinds = ["sliding_attention", "full_attention", "full_attention"]
    configurations = (
        LlamaConfig(**SHAPE),
        MistralConfig(**SHAPE, sliding_window=64),
        Gemma3TextConfig(**SHAPE, head_dim=16, sliding_window=64, layer_types=two_kinds),
    )
    made = [await texts(config) for config in configurations]
    print(json.dumps({"version": transformers.__version__, "texts": made}))


asyncio.run(main())
