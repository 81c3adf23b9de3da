"""Writes pipelines the way publishers did: names of tensors, files of tokenizers, shards.

diffusers and transformers write today's names. Published repositories have those of their day,
which both still have to read.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
"""In autoencoders of Stable Diffusion 1 and 2."""
PUBLISHED_CLASSES = {
    "CLIPImageProcessorPil": "CLIPImageProcessor",
    "T5Tokenizer": "T5TokenizerFast",
    "GemmaTokenizer": "GemmaTokenizerFast",
}


def publish(pipeline: Any, folder: Path) -> Path:
    """Write `pipeline` to `folder`, and return it."""
    # Large transformers come in shards, with an index.
    sharded = {} if hasattr(pipeline, "unet") else {"max_shard_size": "8MB"}
    pipeline.save_pretrained(folder, **sharded)
    index = folder / "model_index.json"
    parts = json.loads(index.read_text())
    for part in parts.values():
        if isinstance(part, list):
            part[1] = PUBLISHED_CLASSES.get(part[1], part[1])
    index.write_text(json.dumps(parts))
    for name, (_, kind) in ((n, p) for n, p in parts.items() if isinstance(p, list)):
        if kind in ("CLIPTokenizer", "Qwen2Tokenizer"):
            _as_vocabulary_and_merges(folder / name)
        elif kind == "CLIPTextModel":
            _rename(folder / name / "model.safetensors", lambda tensor: f"text_model.{tensor}")
    if parts["_class_name"] == "StableDiffusionPipeline":
        _rename(folder / "vae" / "diffusion_pytorch_model.safetensors", _old_attention)
    return folder


def _as_vocabulary_and_merges(tokenizer: Path) -> None:
    fast = json.loads((tokenizer / "tokenizer.json").read_text())
    (tokenizer / "tokenizer.json").unlink()
    special = {token["content"] for token in fast["added_tokens"]}
    vocabulary = fast["model"]["vocab"]
    numbers = {token["content"]: token["id"] for token in fast["added_tokens"]}
    if json.loads((tokenizer / "tokenizer_config.json").read_text())["tokenizer_class"][0] == "Q":
        vocabulary = {token: n for token, n in vocabulary.items() if token not in special}
        (tokenizer / "added_tokens.json").write_text(json.dumps(numbers))
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in fast["model"]["merges"])
    (tokenizer / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    config = json.loads((tokenizer / "tokenizer_config.json").read_text())
    del config["backend"]
    config["added_tokens_decoder"] = {
        str(token["id"]): {name: value for name, value in token.items() if name != "id"}
        for token in fast["added_tokens"]
    }
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))


def _old_attention(tensor: str) -> str:
    found = re.fullmatch(r"(.*\.attentions\.0\.)(to_q|to_k|to_v|to_out\.0)(\..*)", tensor)
    return f"{found[1]}{OLD_ATTENTION[found[2]]}{found[3]}" if found else tensor


def _rename(file: Path, new_name: Any) -> None:
    weights: dict[str, torch.Tensor] = {new_name(n): t for n, t in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
