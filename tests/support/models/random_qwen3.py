"""A Qwen 3 of half a billion random weights, as safetensors and as GGUF: the work of a real model.

It has the layers of Qwen3-0.6B and a vocabulary of its own, of all bytes and all pairs and triples
of letters, so that whatever it says is text. No token ends an answer.
"""

from itertools import product
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SPACE = "\u0120"
"""As byte-level BPE writes a space."""
CONTEXT = 4096
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""What GGUF calls the parts of a layer, by transformers' names."""


def write(
    folder: Path,
    gguf: Path,
    *,
    layers: int = 28,
    quantization: GGMLQuantizationType = GGMLQuantizationType.Q8_0,
) -> None:
    """Write the same weights to `folder` for transformers, in bfloat16, and to the file `gguf`."""
    tokens, merges = _vocabulary()
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=len(tokens),
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,  # tied, random weights say the same token for ever
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        dtype=torch.bfloat16,
    )
    model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    _tokenizer(tokens, merges).save_pretrained(folder)
    _write_gguf(model, config, gguf, tokens, merges, quantization)


def _vocabulary() -> tuple[list[str], list[tuple[str, str]]]:
    pairs = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
    merges = [(pair[0], pair[1]) for pair in pairs]
    merges += [(pair, letter) for pair, letter in product(pairs, ascii_lowercase)]
    merges += [(SPACE, letter) for letter in ascii_lowercase]
    merges += [(SPACE + pair[0], pair[1]) for pair in pairs]
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*tokens, *(first + second for first, second in merges)], merges


def _tokenizer(tokens: list[str], merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    numbered = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=numbered, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def _write_gguf(
    model: Qwen3ForCausalLM,
    config: Qwen3Config,
    path: Path,
    tokens: list[str],
    merges: list[tuple[str, str]],
    quantization: GGMLQuantizationType,
) -> None:
    writer = GGUFWriter(path, "qwen3")
    writer.add_type("model")
    writer.add_name("Random Qwen 3")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{quantization.name}"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * len(tokens))
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_add_bos_token(False)
    for name, weight in model.state_dict().items():
        values = np.ascontiguousarray(weight.float().numpy())
        if values.ndim == 1:
            writer.add_tensor(_gguf_name(name), values)
        else:
            packed = quantize(values, quantization)
            writer.add_tensor(_gguf_name(name), packed, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"blk.{layer}.{NAMES[part]}.weight"
