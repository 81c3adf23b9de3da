"""A sentence embedder of each family: narrow and untrained, with the files its publisher has.

Vocabulary, context, attention pattern and the steps after the model are as published. Only widths,
heads and layers are few, and most of the vocabulary is filler that no text has.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import pre_tokenizers, processors

LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]
SENTENCE_TRANSFORMERS = "sentence_transformers.models."
WIDTH = 96


@dataclass(frozen=True, slots=True)
class Family:
    """`dense` are the layers after pooling, by what they give; `longest` is the most tokens."""

    name: str
    example: str
    build: Callable[[], tuple[Any, Any]]
    pooling: str
    normalize: bool
    longest: int
    max_seq_length: int | None = None
    dense: tuple[int, ...] = ()
    prompts: dict[str, str] = field(default_factory=dict)
    architecture: str = ""

    def publish(self, folder: Path) -> tuple[Any, Any]:
        """Write the family's model to `folder`; return its model and tokenizer."""
        torch.manual_seed(7)
        model, tokenizer = self.build()
        model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if self.architecture:
            config = json.loads((folder / "config.json").read_text())
            _write(folder / "config.json", config | {"architectures": [self.architecture]})
        steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
        steps += [(f"{number}_Dense", "Dense") for number, _ in enumerate(self.dense, 2)]
        steps += [(f"{len(steps)}_Normalize", "Normalize")] if self.normalize else []
        _write(
            folder / "modules.json",
            [
                {"idx": n, "name": str(n), "path": path, "type": SENTENCE_TRANSFORMERS + kind}
                for n, (path, kind) in enumerate(steps)
            ],
        )
        modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
        modes += ("weightedmean_tokens", "lasttoken")
        (folder / "1_Pooling").mkdir()
        _write(
            folder / "1_Pooling" / "config.json",
            {"word_embedding_dimension": WIDTH, "include_prompt": True}
            | {f"pooling_mode_{mode}": mode == self.pooling for mode in modes},
        )
        before = WIDTH
        for number, width in enumerate(self.dense, 2):
            self._publish_dense(folder / f"{number}_Dense", before, width)
            before = width
        if self.max_seq_length:
            limits = {"max_seq_length": self.max_seq_length, "do_lower_case": False}
            _write(folder / "sentence_bert_config.json", limits)
        _write(
            folder / "config_sentence_transformers.json",
            {"prompts": self.prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        )
        return model, tokenizer

    def _publish_dense(self, folder: Path, before: int, width: int) -> None:
        folder.mkdir()
        identity = "torch.nn.modules.linear.Identity"
        config = {"in_features": before, "out_features": width, "bias": False}
        _write(folder / "config.json", config | {"activation_function": identity})
        weights = {"linear.weight": torch.randn(width, before) / before**0.5}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def _words(special: list[str], size: int) -> dict[str, int]:
    """A WordPiece vocabulary of letters, within and at the beginning of words."""
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return {piece: number for number, piece in enumerate(pieces + _filler(size - len(pieces)))}


def _filler(count: int) -> list[str]:
    return [f"\N{REPLACEMENT CHARACTER}{number}" for number in range(count)]


def _bert() -> tuple[Any, Any]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = transformers.BertTokenizer(vocab=_words(special, 30522), model_max_length=512)
    config = transformers.BertConfig(
        hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    )
    return transformers.BertModel(config), tokenizer


def _mpnet() -> tuple[Any, Any]:
    special = ["<s>", "<pad>", "</s>", "[UNK]"]
    vocabulary = _words(special, 30526) | {"<mask>": 30526}
    tokenizer = transformers.MPNetTokenizer(vocab=vocabulary, model_max_length=512)
    config = transformers.MPNetConfig(
        max_position_embeddings=514,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    return transformers.MPNetModel(config), tokenizer


def _xlm_r() -> tuple[Any, Any]:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*special, "▁", *LETTERS]
    pieces += _filler(250001 - len(pieces))
    # Its tokenizer says nothing of how long a text may be: the positions do.
    tokenizer = transformers.XLMRobertaTokenizer(
        vocab=[(piece, -float(number > 3)) for number, piece in enumerate(pieces)]
    )
    config = transformers.XLMRobertaConfig(
        vocab_size=250002,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    return transformers.XLMRobertaModel(config), tokenizer


def _modernbert() -> tuple[Any, Any]:
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = _byte_level(special, 50368, model_max_length=8192)
    numbers = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=numbers
    )
    tokenizer.pad_token = "[PAD]"
    config = transformers.ModernBertConfig(
        vocab_size=50368,
        max_position_embeddings=8192,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    return transformers.ModernBertModel(config), tokenizer


def _qwen_3() -> tuple[Any, Any]:
    tokenizer = _byte_level(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        151669,
        kind=transformers.Qwen2Tokenizer,
        model_max_length=131072,
        padding_side="left",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    end = ("<|endoftext|>", tokenizer.convert_tokens_to_ids("<|endoftext|>"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[end]
    )
    config = transformers.Qwen3Config(
        vocab_size=151669,
        max_position_embeddings=32768,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=128,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    )
    return transformers.Qwen3Model(config), tokenizer


def _gemma_3() -> tuple[Any, Any]:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    pieces = special + LETTERS
    pieces += _filler(262144 - len(pieces))
    tokenizer = transformers.GemmaTokenizerFast(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[],
        model_max_length=2048,
    )
    ends = [(token, special.index(token)) for token in ("<bos>", "<eos>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=ends
    )
    config = transformers.Gemma3TextConfig(
        vocab_size=262144,
        max_position_embeddings=2048,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=6,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=64,
        query_pre_attn_scalar=256,
        sliding_window=512,
        use_bidirectional_attention=True,
    )
    return transformers.Gemma3TextModel(config), tokenizer


def _byte_level(
    special: list[str],
    size: int,
    kind: Any = transformers.Qwen2Tokenizer,
    **settings: Any,
) -> Any:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = letters + _filler(size - len(letters) - len(special)) + special
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return kind(vocab=vocabulary, merges=[], extra_special_tokens=special, **settings)


SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
FAMILIES = (
    Family("BERT", "BAAI/bge-small-en-v1.5", _bert, "cls_token", True, 512, 512),
    Family(
        "MPNet", "sentence-transformers/all-mpnet-base-v2", _mpnet, "mean_tokens", True, 384, 384
    ),
    Family("XLM-R", "intfloat/multilingual-e5-base", _xlm_r, "mean_tokens", True, 512),
    Family(
        "ModernBERT", "Alibaba-NLP/gte-modernbert-base", _modernbert, "cls_token", False, 8192, 8192
    ),
    Family(
        "Qwen3-Embedding",
        "Qwen/Qwen3-Embedding-0.6B",
        _qwen_3,
        "lasttoken",
        True,
        32768,
        prompts={"query": f"Instruct: {SEARCH}\nQuery:", "document": ""},
        architecture="Qwen3ForCausalLM",
    ),
    Family(
        "EmbeddingGemma",
        "google/embeddinggemma-300m",
        _gemma_3,
        "mean_tokens",
        True,
        2048,
        2048,
        dense=(4 * WIDTH, WIDTH),
        prompts={"query": "task: search result | query: ", "document": "title: none | text: "},
    ),
)
