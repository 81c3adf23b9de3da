"""Language models of the families that people run, with random weights and few of them.

What decides how a model is served is as published: vocabulary, context, width and sharing of
heads, attention pattern, tied weights and rope. Width and number of layers are not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig

from support.models import tiny_models

SLIM: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "initializer_range": 0.2,
}
"""What all have, if the family's own entry does not say otherwise."""


def _sliding(full_each: int, layers: int) -> list[str]:
    """The layers' types where each `full_each`th one attends to everything."""
    return [
        "sliding_attention" if (layer + 1) % full_each else "full_attention"
        for layer in range(layers)
    ]


def _config(name: str, **published: Any) -> Callable[[], Any]:
    return lambda: getattr(transformers, name)(**SLIM | published)


def _rope(theta: float, kind: str = "default", **more: Any) -> dict[str, Any]:
    return {"rope_theta": theta, "rope_type": kind, **more}


_MOE = {"moe_intermediate_size": 64, "num_experts_per_tok": 2}

FAMILIES: dict[str, Callable[[], Any]] = {
    "Llama 3": _config(
        "LlamaConfig",
        vocab_size=128256,
        max_position_embeddings=131072,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=128,
        rope_parameters=_rope(
            500000.0,
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
    ),
    "Llama 4": _config(
        "Llama4TextConfig",
        vocab_size=202048,
        max_position_embeddings=10485760,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=1,
        head_dim=128,
        intermediate_size_mlp=128,
        num_local_experts=4,
        num_experts_per_tok=1,
        attention_chunk_size=8192,
        rope_parameters=_rope(
            500000.0,
            "llama3",
            factor=16.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
    ),
    "Qwen 2.5": _config(
        "Qwen2Config",
        vocab_size=152064,
        max_position_embeddings=32768,
        num_attention_heads=7,
        num_key_value_heads=1,
        head_dim=128,
        rope_parameters=_rope(1000000.0),
    ),
    "Qwen 3": _config(
        "Qwen3Config",
        vocab_size=151936,
        max_position_embeddings=40960,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=128,
        tie_word_embeddings=True,
        rope_parameters=_rope(1000000.0),
    ),
    "Qwen 3 MoE": _config(
        "Qwen3MoeConfig",
        vocab_size=151936,
        max_position_embeddings=40960,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=128,
        num_experts=4,
        rope_parameters=_rope(1000000.0),
        **_MOE,
    ),
    "Gemma 2": _config(
        "Gemma2Config",
        vocab_size=256000,
        max_position_embeddings=8192,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=4096,
        tie_word_embeddings=True,
    ),
    "Gemma 3": _config(
        "Gemma3TextConfig",
        vocab_size=262144,
        max_position_embeddings=32768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
        layer_types=_sliding(6, 6),
        tie_word_embeddings=True,
    ),
    "Mistral": _config(
        "MistralConfig",
        vocab_size=32768,
        max_position_embeddings=32768,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=128,
        sliding_window=4096,
        rope_parameters=_rope(1000000.0),
    ),
    "Mixtral": _config(
        "MixtralConfig",
        vocab_size=32000,
        max_position_embeddings=32768,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=128,
        num_local_experts=4,
        sliding_window=None,
        rope_parameters=_rope(1000000.0),
    ),
    "Phi 4": _config(
        "Phi3Config",
        vocab_size=100352,
        max_position_embeddings=16384,
        num_attention_heads=4,
        num_key_value_heads=1,
        pad_token_id=0,
        rope_parameters=_rope(250000.0),
    ),
    "gpt-oss": _config(
        "GptOssConfig",
        vocab_size=201088,
        max_position_embeddings=131072,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=64,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=128,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "DeepSeek V3": _config(
        "DeepseekV3Config",
        vocab_size=129280,
        max_position_embeddings=163840,
        num_attention_heads=2,
        num_key_value_heads=2,
        q_lora_rank=64,
        kv_lora_rank=64,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        n_shared_experts=1,
        first_k_dense_replace=1,
        **_MOE,
    ),
    "GLM 4": _config(
        "Glm4Config",
        vocab_size=151552,
        max_position_embeddings=32768,
        num_attention_heads=24,
        num_key_value_heads=1,
        head_dim=128,
        pad_token_id=0,
    ),
    "OLMo 2": _config(
        "Olmo2Config",
        vocab_size=100352,
        max_position_embeddings=4096,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        rope_parameters=_rope(500000.0),
    ),
    "Granite 4": _config(
        "GraniteMoeHybridConfig",
        vocab_size=100352,
        max_position_embeddings=131072,
        num_attention_heads=4,
        num_key_value_heads=1,
        layer_types=["mamba", "attention"],
        shared_intermediate_size=128,
        num_local_experts=0,
        num_experts_per_tok=0,
        position_embedding_type="nope",
        mamba_n_heads=2,
        mamba_d_head=64,
        mamba_d_state=128,
        mamba_expand=2,
        pad_token_id=0,
        tie_word_embeddings=True,
    ),
    "SmolLM 3": _config(
        "SmolLM3Config",
        vocab_size=128256,
        max_position_embeddings=65536,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=1,
        pad_token_id=0,
        tie_word_embeddings=True,
        rope_parameters=_rope(5000000.0),
    ),
    "Command R": _config(
        "CohereConfig",
        vocab_size=256000,
        max_position_embeddings=131072,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        tie_word_embeddings=True,
        rope_parameters=_rope(8000000.0),
    ),
    "Falcon H1": _config(
        "FalconH1Config",
        vocab_size=32784,
        max_position_embeddings=16384,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=64,
        mamba_d_ssm=128,
        mamba_n_heads=2,
        mamba_d_head=64,
        mamba_d_state=128,
        pad_token_id=0,
        rope_parameters=_rope(100000000000.0),
    ),
}


WITH_IMAGES: dict[str, Callable[[], Any]] = {
    "Gemma 3 with images": lambda: transformers.Gemma3Config(
        text_config=FAMILIES["Gemma 3"]().to_dict() | {"vocab_size": 262208}, vision_config=_VISION
    ),
    "Llama 4 with images": lambda: transformers.Llama4Config(
        text_config=FAMILIES["Llama 4"]().to_dict(),
        vision_config=_VISION
        | {"vision_output_dim": 64, "projector_input_dim": 64, "projector_output_dim": 64},
    ),
    "Mistral 3 with images": lambda: transformers.Mistral3Config(
        text_config=FAMILIES["Mistral"]().to_dict() | {"sliding_window": None},
        vision_config=_VISION | {"model_type": "pixtral", "head_dim": 32},
    ),
}
"""What is published as a model of texts and images, and answers texts alone too."""

_VISION = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}


def family(name: str, path: Path) -> Path:
    """Write the model of the family `name` into the folder `path`, in bfloat16 as published."""
    fast = tiny_models.tokenizer()
    config = (FAMILIES | WITH_IMAGES)[name]()
    for part in (config, config.get_text_config()):
        part.eos_token_id, part.pad_token_id = fast.eos_token_id, fast.pad_token_id
        part.bos_token_id = None
    torch.manual_seed(7)
    kind = AutoModelForImageTextToText if name in WITH_IMAGES else AutoModelForCausalLM
    model = kind.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(
        eos_token_id=[fast.eos_token_id], pad_token_id=fast.pad_token_id
    )
    model.save_pretrained(path)
    fast.save_pretrained(path)
    return path
