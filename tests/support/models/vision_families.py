"""Models that see, of the families that people run, with random weights and few of them.

What decides how an image becomes tokens is as published: how it is scaled and cut, the
placeholders and what stands around them, and where in the text each part of it is. Widths,
number of layers and, so that tests are quick, sizes of images are not.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from support.models import tiny_models

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "initializer_range": 0.2,
    "max_position_embeddings": 4096,
}
SIGLIP: dict[str, Any] = {
    "model_type": "siglip_vision_model",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "vision_use_head": False,
    "initializer_range": 0.2,
}


@dataclass(frozen=True, slots=True)
class Family:
    """How a family's models are made.

    `config` makes a configuration from its text's vocabulary and the ids of `tokens`, which are
    those that its processor and model know by name. `processor` and `images` are the names of its
    processor and of its image processor, with what they are told. `image` is what a chat template
    puts where an image is.
    """

    config: Callable[[int, dict[str, int]], Any]
    processor: str
    images: str
    image: str
    tokens: dict[str, str]
    told: dict[str, Any] = field(default_factory=dict)
    scaled: dict[str, Any] = field(default_factory=dict)


def _llava(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": vocabulary, **TEXT},
        vision_config={**SIGLIP, "model_type": "clip_vision_model", "projection_dim": 64},
        image_token_index=ids["image_token"],
    )


def _llava_next(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.LlavaNextConfig(
        text_config={"model_type": "mistral", "vocab_size": vocabulary, **TEXT},
        vision_config={**SIGLIP, "model_type": "clip_vision_model", "projection_dim": 64},
        image_token_index=ids["image_token"],
        image_grid_pinpoints=[[56, 112], [112, 56], [112, 112]],
    )


_QWEN2_TEXT = {key: value for key, value in TEXT.items() if key != "head_dim"}


def _rope_by_parts(*sections: int) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 1e6, "mrope_section": list(sections)}


def _qwen_ids(ids: dict[str, int]) -> dict[str, int]:
    return {
        "image_token_id": ids["image_token"],
        "video_token_id": ids["video_token"],
        "vision_start_token_id": ids["vision_start_token"],
        "vision_end_token_id": ids["vision_end_token"],
    }


def _qwen2_vl(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.Qwen2VLConfig(
        text_config=_QWEN2_TEXT
        | {"vocab_size": vocabulary, "rope_parameters": _rope_by_parts(2, 3, 3)},
        vision_config={"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 64},
        **_qwen_ids(ids),
    )


def _qwen2_5_vl(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.Qwen2_5_VLConfig(
        text_config=_QWEN2_TEXT
        | {"vocab_size": vocabulary, "rope_parameters": _rope_by_parts(2, 3, 3)},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        **_qwen_ids(ids),
    )


def _qwen3_vl(vocabulary: int, ids: dict[str, int]) -> Any:
    rope = _rope_by_parts(6, 5, 5) | {"mrope_interleaved": True}
    return transformers.Qwen3VLConfig(
        text_config=TEXT | {"vocab_size": vocabulary, "rope_parameters": rope},
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": [0, 1],
            "num_position_embeddings": 16,
        },
        **_qwen_ids(ids),
    )


def _gemma3(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.Gemma3Config(
        text_config=TEXT
        | {
            "vocab_size": vocabulary,
            "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={**SIGLIP},
        mm_tokens_per_image=4,
        image_token_index=ids["image_token"],
        boi_token_index=ids["boi_token"],
        eoi_token_index=ids["eoi_token"],
    )


def _idefics3(kind: str) -> Callable[[int, dict[str, int]], Any]:
    def config(vocabulary: int, ids: dict[str, int]) -> Any:
        vision = {key: value for key, value in SIGLIP.items() if key != "vision_use_head"}
        return getattr(transformers, kind)(
            text_config={"model_type": "llama", "vocab_size": vocabulary, **TEXT},
            vision_config=vision | {"model_type": f"{kind.removesuffix('Config').lower()}_vision"},
            scale_factor=2,
            image_token_id=ids["image_token"],
        )

    return config


def _mistral3(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.Mistral3Config(
        text_config={"model_type": "mistral", "vocab_size": vocabulary, **TEXT},
        vision_config={**SIGLIP, "model_type": "pixtral", "head_dim": 32},
        image_token_index=ids["image_token"],
    )


def _internvl(vocabulary: int, ids: dict[str, int]) -> Any:
    return transformers.InternVLConfig(
        text_config={"model_type": "qwen2", "vocab_size": vocabulary, **TEXT},
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [56, 56],
            "patch_size": [14, 14],
        },
        image_token_id=ids["image_token"],
        image_seq_length=4,
    )


_QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_SCALED = {
    "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16},
    "merge_size": 2,
    "temporal_patch_size": 2,
}
_IDEFICS_TOKENS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
_IDEFICS_SCALED = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
_CLIP_SCALED = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}

FAMILIES: dict[str, Family] = {
    "LLaVA": Family(
        _llava,
        "LlavaProcessor",
        "CLIPImageProcessor",
        "<image>",
        {"image_token": "<image>"},
        told={
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        scaled=_CLIP_SCALED,
    ),
    "LLaVA-NeXT": Family(
        _llava_next,
        "LlavaNextProcessor",
        "LlavaNextImageProcessor",
        "<image>",
        {"image_token": "<image>"},
        told={
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
        scaled=_CLIP_SCALED | {"image_grid_pinpoints": [[56, 112], [112, 56], [112, 112]]},
    ),
    "Qwen 2 VL": Family(
        _qwen2_vl,
        "Qwen2VLProcessor",
        "Qwen2VLImageProcessor",
        _QWEN_IMAGE,
        _QWEN_TOKENS,
        scaled=_QWEN_SCALED,
    ),
    "Qwen 2.5 VL": Family(
        _qwen2_5_vl,
        "Qwen2_5_VLProcessor",
        "Qwen2VLImageProcessor",
        _QWEN_IMAGE,
        _QWEN_TOKENS,
        scaled=_QWEN_SCALED,
    ),
    "Qwen 3 VL": Family(
        _qwen3_vl,
        "Qwen3VLProcessor",
        "Qwen2VLImageProcessor",
        _QWEN_IMAGE,
        _QWEN_TOKENS,
        scaled=_QWEN_SCALED | {"patch_size": 16},
    ),
    "Gemma 3": Family(
        _gemma3,
        "Gemma3Processor",
        "Gemma3ImageProcessor",
        "<start_of_image>",
        {
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        told={"image_seq_length": 4},
        scaled={"size": {"height": 56, "width": 56}},
    ),
    "Idefics 3": Family(
        _idefics3("Idefics3Config"),
        "Idefics3Processor",
        "Idefics3ImageProcessor",
        "<image>",
        _IDEFICS_TOKENS,
        told={"image_seq_len": 4},
        scaled=_IDEFICS_SCALED,
    ),
    "SmolVLM": Family(
        _idefics3("SmolVLMConfig"),
        "SmolVLMProcessor",
        "SmolVLMImageProcessor",
        "<image>",
        _IDEFICS_TOKENS,
        told={"image_seq_len": 4},
        scaled=_IDEFICS_SCALED,
    ),
    "Mistral 3": Family(
        _mistral3,
        "PixtralProcessor",
        "PixtralImageProcessor",
        "[IMG]",
        {
            "image_token": "[IMG]",
            "image_break_token": "[IMG_BREAK]",
            "image_end_token": "[IMG_END]",
        },
        told={"patch_size": 14, "spatial_merge_size": 2},
        scaled={"size": {"longest_edge": 112}, "patch_size": {"height": 14, "width": 14}},
    ),
    "InternVL 3": Family(
        _internvl,
        "InternVLProcessor",
        "GotOcr2ImageProcessor",
        "<IMG_CONTEXT>",
        {
            "image_token": "<IMG_CONTEXT>",
            "context_image_token": "<IMG_CONTEXT>",
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "video_token": "<video>",
        },
        told={"image_seq_length": 4},
        scaled={"size": {"height": 56, "width": 56}, "crop_to_patches": True, "max_patches": 4},
    ),
}

TEMPLATE = (
    "{% for message in messages %}{{ message.role + ': ' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{{ 'IMAGE' if part.type == 'image' else part.text }}"
    "{% endfor %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def family(name: str, path: Path) -> Path:
    """Write the model of the family `name` into the folder `path`, in float32."""
    made = FAMILIES[name]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tiny_models.tokenizer().backend_tokenizer,
        eos_token=tiny_models.END,
        pad_token=tiny_models.PAD,
        extra_special_tokens=made.tokens,
        chat_template=TEMPLATE.replace("IMAGE", made.image),
    )
    ids = {named: fast.convert_tokens_to_ids(token) for named, token in made.tokens.items()}
    config = made.config(len(fast), ids)
    for part in (config, config.get_text_config()):
        part.eos_token_id, part.pad_token_id = fast.eos_token_id, fast.pad_token_id
        part.bos_token_id = None
    torch.manual_seed(7)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.generation_config = GenerationConfig(
        eos_token_id=[fast.eos_token_id], pad_token_id=fast.pad_token_id
    )
    model.save_pretrained(path)
    fast.save_pretrained(path)
    for file, content in (
        ("preprocessor_config.json", made.scaled | {"image_processor_type": made.images}),
        ("processor_config.json", made.told | {"processor_class": made.processor}),
    ):
        (path / file).write_text(json.dumps(content))
    return path
