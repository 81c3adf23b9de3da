"""GGUF files of a few weights, made on the spot: what llama.cpp serves, and what belongs to it.

The chat model has the weights and the tokenizer of `local-models/daiic-tiny-chat`, so llama.cpp's
greedy answers can be compared with transformers'. The others have random weights.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, PoolingType, TokenType, quantize
from safetensors.torch import load_file

TINY_CHAT = Path(__file__).parents[3] / "local-models" / "daiic-tiny-chat"
SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
MARKS = ("<tools>", "</tools>", "<think>", "</think>", "<tool_call>", "</tool_call>")
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('roles are system, user and assistant, not ' + message.role) }}"
    "{% endif %}"
    "{{ '<|' + message.role + '|>' + message.content + eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The chat model's own without tools and thoughts.

If a template has a place for thoughts, llama.cpp puts an empty one before an answer that goes on.
"""
WIDTH = 192  # of the chat model
VISION_WIDTH, IMAGE_SIZE, PATCH = 32, 28, 14
BERT_WIDTH = 32

Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""What GGUF calls the parts of a Llama's layer, by transformers' names."""


def chat_model(
    path: Path,
    *,
    context: int = 1024,
    quantization: GGMLQuantizationType = GGMLQuantizationType.BF16,
    template: str = CHAT_TEMPLATE,
    parts: int = 1,
    layers: int = 4,
    experts: int = 0,
) -> Path:
    """Write daiic-tiny-chat as a GGUF to `path`; return the file, or the first of its `parts`.

    An empty `template` is left out. With more `layers` it is larger and says the same: what is
    added are zeros. With `experts` it is larger by so many copies of each feed-forward, one of
    which is computed.
    In several parts, it is named as `llama-gguf-split` names them: NAME-00001-of-00002.gguf.
    """
    weights = _llama_names(
        {k: w.float().numpy() for k, w in load_file(TINY_CHAT / "model.safetensors").items()}
    )
    for number in range(4, layers):
        for name, weight in [*weights.items()]:
            if name.startswith("blk.0."):
                weights[f"blk.{number}.{name[6:]}"] = np.zeros_like(weight)
    if experts:
        weights = {
            new: one for name, w in weights.items() for new, one in _copied(name, w, experts)
        }
    split = -(-len(weights) // parts) if parts > 1 else 0
    writer = GGUFWriter(path, "llama", split_max_tensors=split)
    _describe_llama(writer, "DAIIC tiny chat", layers=layers, context=context)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(1)
    _tokenizer(writer, template)
    _write(writer, weights, quantization)
    return path if parts == 1 else path.with_name(f"{path.stem}-00001-of-{parts:05}.gguf")


def draft_model(path: Path, *, layers: int = 2) -> Path:
    """Write a model with daiic-tiny-chat's tokenizer and its first `layers` layers.

    It guesses some of the whole model's tokens right, and others wrong.
    """
    whole = _llama_names(
        {k: w.float().numpy() for k, w in load_file(TINY_CHAT / "model.safetensors").items()}
    )
    kept = {
        name: weight
        for name, weight in whole.items()
        if not name.startswith("blk.") or int(name.split(".")[1]) < layers
    }
    writer = GGUFWriter(path, "llama")
    _describe_llama(writer, "DAIIC tiny draft", layers=layers, context=1024)
    _tokenizer(writer, CHAT_TEMPLATE)
    _write(writer, kept, GGMLQuantizationType.BF16)
    return path


def adapter(path: Path, *, rank: int = 4, strength: float = 4.0, seed: int = 7) -> Path:
    """Write a LoRA for the chat model's queries and outputs that changes what it says."""
    random = np.random.default_rng(seed)
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_name(path.stem)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    weights = {}
    for layer in range(4):
        for part in ("attn_q", "attn_output"):
            name = f"blk.{layer}.{part}.weight"
            weights[f"{name}.lora_a"] = _noise(random, rank, WIDTH)
            weights[f"{name}.lora_b"] = _noise(random, WIDTH, rank) * strength
    _write(writer, weights, GGMLQuantizationType.F32)
    return path


def embedding_model(
    path: Path, *, pooling: PoolingType = PoolingType.MEAN, context: int = 128, seed: int = 7
) -> Path:
    """Write a BERT of `BERT_WIDTH` dimensions whose WordPiece vocabulary is letters.

    With PoolingType.RANK it has a classifier of one label.
    """
    random = np.random.default_rng(seed)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # A word's first piece begins with U+2581 in GGUF, and pieces within words have no "##".
    tokens = [*special, *(f"\u2581{letter}" for letter in letters), *letters]
    width, inner = BERT_WIDTH, 64
    writer = GGUFWriter(path, "bert")
    writer.add_name("DAIIC tiny sentences")
    writer.add_block_count(2)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.CONTROL] * len(special) + [TokenType.NORMAL] * (len(tokens) - len(special))
    )
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)
    weights: Weights = {
        "token_embd.weight": _noise(random, len(tokens), width),
        "position_embd.weight": _noise(random, context, width),
        "token_types.weight": _noise(random, 2, width),
        **_norm("token_embd_norm", width),
    }
    if pooling == PoolingType.RANK:
        weights |= {
            "cls.weight": _noise(random, width, width) * 20,
            "cls.bias": _noise(random, width),
            "cls.output.weight": _noise(random, 1, width) * 20,
            "cls.output.bias": _noise(random, 1),
        }
    for layer in range(2):
        weights |= _encoder(
            random,
            f"blk.{layer}",
            width,
            inner,
            output="attn_output",
            norms=("attn_output_norm", "layer_output_norm"),
        )
    _write(writer, weights, GGMLQuantizationType.F32)
    return path


def projector(path: Path, *, seed: int = 7) -> Path:
    """Write an mmproj with which the chat model takes images, four tokens each (as in LLaVA 1.5).

    It has never learned anything: what the model says of an image makes no sense, but differs
    between images.
    """
    random = np.random.default_rng(seed)
    width, inner = VISION_WIDTH, 64
    writer = GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name("DAIIC tiny eyes")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_vision_image_size(IMAGE_SIZE)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(width)
    writer.add_vision_feed_forward_length(inner)
    writer.add_vision_projection_dim(WIDTH)
    writer.add_vision_block_count(2)
    writer.add_vision_head_count(2)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)
    patches = (IMAGE_SIZE // PATCH) ** 2
    weights: Weights = {
        "v.patch_embd.weight": _noise(random, width, 3, PATCH, PATCH),
        "v.class_embd": _noise(random, 1, width)[0],
        "v.position_embd.weight": _noise(random, patches + 1, width),
        **_norm("v.pre_ln", width),
        **_norm("v.post_ln", width),
        **_linear(random, "mm.0", WIDTH, width),
        **_linear(random, "mm.2", WIDTH, WIDTH),
    }
    weights["mm.2.weight"] *= 4  # to be noticed beside the words
    for layer in range(2):
        weights |= _encoder(
            random, f"v.blk.{layer}", width, inner, output="attn_out", norms=("ln1", "ln2")
        )
    _write(writer, weights, GGMLQuantizationType.F32)
    return path


def recurrent_model(path: Path, *, state: int = 256, layers: int = 4, seed: int = 7) -> Path:
    """Write a Mamba with the chat model's tokenizer and random weights; each layer keeps
    2 * WIDTH * (`state` + 3) numbers of a text."""
    random = np.random.default_rng(seed)
    inner, rank, kernel = 2 * WIDTH, 12, 4
    tokens = json.loads((TINY_CHAT / "config.json").read_text())["vocab_size"]
    writer = GGUFWriter(path, "mamba")
    writer.add_type("model")
    writer.add_name("DAIIC tiny states")
    writer.add_block_count(layers)
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(tokens)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    _tokenizer(writer, "")
    weights: Weights = {
        "token_embd.weight": _noise(random, tokens, WIDTH),
        "output_norm.weight": np.ones(WIDTH, dtype=np.float32),
    }
    for layer in range(layers):
        block = f"blk.{layer}"
        weights |= {
            f"{block}.attn_norm.weight": np.ones(WIDTH, dtype=np.float32),
            f"{block}.ssm_in.weight": _noise(random, 2 * inner, WIDTH),
            **_linear(random, f"{block}.ssm_conv1d", inner, kernel),
            f"{block}.ssm_x.weight": _noise(random, rank + 2 * state, inner),
            **_linear(random, f"{block}.ssm_dt", inner, rank),
            f"{block}.ssm_a": -np.ones((inner, state), dtype=np.float32),
            f"{block}.ssm_d": np.ones(inner, dtype=np.float32),
            f"{block}.ssm_out.weight": _noise(random, WIDTH, inner),
        }
    _write(writer, weights, GGMLQuantizationType.F32)
    return path


def scripted_model(path: Path, *pieces: str, template: str, context: int = 1024) -> Path:
    """Write a model that answers every conversation with `pieces`, a token each, and then ends.

    A token's place in the vocabulary is all that it looks at. So no piece may come twice, nor be
    part of `template`, which must end a prompt with `<|assistant|>`.
    """
    alphabet = sorted(json.loads((TINY_CHAT / "tokenizer.json").read_text())["model"]["vocab"])
    letters = [token for token in alphabet if len(token) == 1]
    special = list(SPECIAL)
    if (len(special) + len(letters) + len(pieces)) % 2:
        special.append("<|none|>")  # llama.cpp turns pairs of what a model has as many of as tokens
    tokens = [*special, *letters, *pieces]
    if len(set(tokens)) != len(tokens):
        raise ValueError("a piece comes twice, or is a single letter")
    size = len(tokens)
    writer = GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_name("DAIIC script")
    writer.add_block_count(1)
    writer.add_context_length(context)
    writer.add_embedding_length(size)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(size)
    kinds = [TokenType.CONTROL] * len(special) + [TokenType.NORMAL] * len(letters)
    kinds += [TokenType.USER_DEFINED] * len(pieces)
    _vocabulary(writer, tokens, kinds, ["! !"])  # llama.cpp wants one, if only one of no use
    writer.add_chat_template(template)
    follows = np.zeros((size, size), dtype=np.float32)
    script = [
        SPECIAL.index("<|assistant|>"),
        *range(size - len(pieces), size),
        SPECIAL.index("<|end|>"),
    ]
    for token, following in itertools.pairwise(script):
        follows[following, token] = 1.0
    nothing = {
        f"blk.0.{part}.weight": np.zeros(shape, dtype=np.float32)
        for part, shape in (
            ("attn_q", (size, size)),
            ("attn_k", (size, size)),
            ("attn_v", (size, size)),
            ("attn_output", (size, size)),
            ("ffn_gate", (32, size)),
            ("ffn_up", (32, size)),
            ("ffn_down", (size, 32)),
        )
    }
    weights: Weights = {
        "token_embd.weight": np.eye(size, dtype=np.float32),
        "output.weight": follows,
        "output_norm.weight": np.ones(size, dtype=np.float32),
        "blk.0.attn_norm.weight": np.ones(size, dtype=np.float32),
        "blk.0.ffn_norm.weight": np.ones(size, dtype=np.float32),
        **nothing,
    }
    _write(writer, weights, GGMLQuantizationType.F16)
    return path


def empty_model(
    path: Path, architecture: str, *, layers: int, window: int, pattern: int | list[bool] = -1
) -> Path:
    """Write what a model of some architecture says of its layers, without their weights.

    All but some look through a `window`; which ones, its `pattern` says unless it is -1.
    """
    writer = GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_block_count(layers)
    writer.add_head_count(1)
    if window:
        writer.add_sliding_window(window)
    key = f"{architecture}.attention.sliding_window_pattern"
    if isinstance(pattern, list):
        writer.add_array(key, pattern)
    elif pattern >= 0:
        writer.add_uint32(key, pattern)
    _write(writer, {}, GGMLQuantizationType.F32)
    return path


def _copied(name: str, weight: Any, experts: int) -> Iterator[tuple[str, Any]]:
    """Yield the copies of a feed-forward as one tensor, and what chooses among them."""
    if ".ffn_norm." in name or ".ffn_" not in name:
        yield name, weight
        return
    yield name.replace(".weight", "_exps.weight"), np.broadcast_to(weight, (experts, *weight.shape))
    if ".ffn_gate." in name:
        gate = name.replace("ffn_gate", "ffn_gate_inp")
        yield gate, np.zeros((experts, weight.shape[1]), np.float32)


def _describe_llama(writer: GGUFWriter, name: str, *, layers: int, context: int) -> None:
    config = json.loads((TINY_CHAT / "config.json").read_text())
    writer.add_type("model")
    writer.add_name(name)
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _tokenizer(writer: GGUFWriter, template: str) -> None:
    model = json.loads((TINY_CHAT / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    special = dict.fromkeys(SPECIAL, TokenType.CONTROL) | dict.fromkeys(
        MARKS, TokenType.USER_DEFINED
    )
    kinds = [special.get(token, TokenType.NORMAL) for token in tokens]
    _vocabulary(writer, tokens, kinds, [" ".join(merge) for merge in model["merges"]])
    if template:
        writer.add_chat_template(template)


def _vocabulary(
    writer: GGUFWriter, tokens: list[str], kinds: list[TokenType], merges: list[str]
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)


def _llama_names(weights: Weights) -> Weights:
    """Transformers' weights as GGUF has them; it turns a head's two halves into pairs for RoPE."""
    config = json.loads((TINY_CHAT / "config.json").read_text())
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    renamed: Weights = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    for name, weight in weights.items():
        if not name.startswith("model.layers."):
            continue
        layer, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
        part = NAMES[part]
        if part in heads:
            by_head = weight.reshape(heads[part], 2, -1, weight.shape[1])
            weight = by_head.swapaxes(1, 2).reshape(weight.shape)
        renamed[f"blk.{layer}.{part}.weight"] = weight
    return renamed


def _write(writer: GGUFWriter, weights: Weights, quantization: GGMLQuantizationType) -> None:
    is_whole = quantization == GGMLQuantizationType.F32
    writer.add_file_type(LlamaFileType[f"{'ALL' if is_whole else 'MOSTLY'}_{quantization.name}"])
    for name, weight in weights.items():
        kind = quantization if weight.ndim in (2, 3) else GGMLQuantizationType.F32
        if kind == GGMLQuantizationType.F32:
            writer.add_tensor(name, np.ascontiguousarray(weight))
        elif weight.ndim == 3:  # copies
            one = quantize(np.ascontiguousarray(weight[0]), kind)
            copies = np.broadcast_to(one, (len(weight), *one.shape))
            writer.add_tensor(name, copies, raw_dtype=kind)
        else:
            writer.add_tensor(name, quantize(np.ascontiguousarray(weight), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _noise(random: np.random.Generator, *shape: int) -> Any:
    return random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)


def _encoder(
    random: np.random.Generator,
    block: str,
    width: int,
    inner: int,
    *,
    output: str,
    norms: tuple[str, str],
) -> Weights:
    """Return the weights of a layer that looks both ways; `output` and `norms` are their names."""
    weights: Weights = {}
    for part in ("attn_q", "attn_k", "attn_v", output):
        weights |= _linear(random, f"{block}.{part}", width, width)
    weights |= _linear(random, f"{block}.ffn_up", inner, width)
    weights |= _linear(random, f"{block}.ffn_down", width, inner)
    for norm in norms:
        weights |= _norm(f"{block}.{norm}", width)
    return weights


def _linear(random: np.random.Generator, name: str, rows: int, columns: int) -> Weights:
    bias = np.zeros(rows, dtype=np.float32)
    return {f"{name}.weight": _noise(random, rows, columns), f"{name}.bias": bias}


def _norm(name: str, width: int) -> Weights:
    return {
        f"{name}.weight": np.ones(width, dtype=np.float32),
        f"{name}.bias": np.zeros(width, dtype=np.float32),
    }
