"""Narrow and untrained text encoders of image models, with their tokenizers.

Vocabularies are letters, or that of the shipped image model; the rest is as published.
"""

from pathlib import Path
from typing import Any

import transformers
from tokenizers import pre_tokenizers, processors

CLIP_TOKENIZER = Path(__file__).parents[3] / "local-models" / "tiny-shapes.config" / "tokenizer"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]


def clip_tokenizer(**changes: str) -> Any:
    return transformers.CLIPTokenizer.from_pretrained(CLIP_TOKENIZER, **changes)


def clip(kind: Any, width: int, **changes: Any) -> Any:
    tokens = clip_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=2,  # wrong, and published so: the pooled token is then that of highest id
        pad_token_id=1,
        **changes,
    )
    return kind(config)


def t5(width: int) -> tuple[Any, Any]:
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = transformers.T5TokenizerFast(
        vocab=vocabulary + [(letter, -3.0) for letter in LETTERS], model_max_length=512
    )
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=64,
        d_ff=2 * width,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return transformers.T5EncoderModel(config), tokenizer


def gemma_2(width: int) -> tuple[Any, Any]:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    vocabulary = {token: number for number, token in enumerate(special + LETTERS)}
    tokenizer = transformers.GemmaTokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    config = transformers.Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
    )
    return transformers.Gemma2Model(config), tokenizer


def qwen_3(width: int) -> tuple[Any, Any]:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(letters + special)}
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens=special[1:]
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    config = transformers.Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=128,
        bos_token_id=vocabulary["<|endoftext|>"],
        eos_token_id=vocabulary["<|im_end|>"],
    )
    return transformers.Qwen3Model(config), tokenizer


def qwen_2_5_vl() -> tuple[Any, Any]:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(letters + special)}
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens=special[1:]
    )
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 256,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 128000,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1000000.0,
                "mrope_section": [16, 24, 24],
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 256,
            "fullatt_block_indexes": [1],
        },
        vision_start_token_id=vocabulary["<|vision_start|>"],
        vision_end_token_id=vocabulary["<|vision_end|>"],
        image_token_id=vocabulary["<|image_pad|>"],
        video_token_id=vocabulary["<|video_pad|>"],
        tie_word_embeddings=False,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config), tokenizer
