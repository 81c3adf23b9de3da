"""Models of a few thousand weights, made on the spot, for tests of what runs them."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "Grüße aus Köln: schöne Häuser, süße Äpfel, große Bäume.",
    "日本語の文章も少しだけ入れておきます。",
    "🙂🎉🚀👩‍👩‍👧 emoji take several tokens each.",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

END, PAD = "<end>", "<pad>"


def tokenizer(*, chat: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes and a few merges: most characters beyond ASCII take several."""
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    byte_level.post_processor = processors.ByteLevel(trim_offsets=False)
    byte_level.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=[PAD, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=byte_level, eos_token=END, pad_token=PAD, model_max_length=256
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def language_model(
    path: Path,
    *,
    chat: bool = True,
    ends: bool = False,
    hidden_size: int = 64,
    intermediate_size: int = 128,
    layers: int = 2,
    heads: int = 4,
    context: int = 256,
) -> Path:
    """Write a Llama of random weights, whose next tokens are far from equally likely.

    Its texts end by themselves only with `ends`: when they do differs between processors.
    """
    fast = tokenizer(chat=chat)
    if not ends:
        fast.eos_token = None
    torch.manual_seed(7)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast),
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            max_position_embeddings=context,
            initializer_range=0.2,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
        )
    )
    model.generation_config = GenerationConfig(
        eos_token_id=[fast.eos_token_id] if ends else None, pad_token_id=fast.pad_token_id
    )
    model.save_pretrained(path)
    fast.save_pretrained(path)
    return path


def sentence_model(path: Path, *, pooling: str = "mean", normalize: bool = True) -> Path:
    """Write a BERT of random weights in the layout of sentence-transformers."""
    fast = tokenizer()
    torch.manual_seed(7)
    model = BertModel(
        BertConfig(
            vocab_size=len(fast),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            pad_token_id=fast.pad_token_id,
        )
    )
    model.save_pretrained(path)
    fast.save_pretrained(path)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    if normalize:
        modules.append(
            {"idx": 2, "name": "2", "path": "2_N", "type": "sentence_transformers.models.Normalize"}
        )
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    flags = {
        "mean": "mean_tokens",
        "cls": "cls_token",
        "max": "max_tokens",
        "lasttoken": "lasttoken",
    }
    config = {f"pooling_mode_{flag}": name == pooling for name, flag in flags.items()}
    (path / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, **config})
    )
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48}))
    return path
