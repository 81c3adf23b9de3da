"""Model folders whose author wishes the worker ill, or did not know better."""

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any


def safetensors(path: Path, *names: str) -> Path:
    """Write a file of safetensors with a small tensor of each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in names or ("w",)}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    return path


def folder(path: Path, config: Any = None, weights: str = "model.safetensors") -> Path:
    """Write a folder that looks like a language model; `config` may be bytes, as they are."""
    path.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"]} if config is None else config
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    (path / "config.json").write_bytes(text)
    if weights:
        safetensors(path / weights)
    return path


CONFIGS: dict[str, Any] = {
    "number": {"architectures": 5},
    "object": {"architectures": {"a": 1}},
    "numbers": {"architectures": [5, None]},
    "nested": {"architectures": [[["LlamaForCausalLM"]]]},
    "deep": b"[" * 100_000,
    "deep-object": b'{"a":' * 100_000,
    "list": b"[]",
    "null": b"null",
    "text": b'"LlamaForCausalLM"',
    "latin-1": b'{"architectures": ["\xff\xfe"]}',
    "surrogate": b'{"architectures": ["\\udfff"]}',
    "escape": {"architectures": ["\x1b[31mRed"]},
    "empty": b"",
    "huge-number": b'{"a": ' + b"9" * 100_000 + b"}",
    "long": {"architectures": ["x" * 100_000]},
}
"""What a config.json may hold."""


def broken(models: Path) -> list[str]:
    """Fill `models` with folders and files that are no usable models; return their names."""
    models.mkdir(exist_ok=True)
    before = set(models.iterdir())
    for name, config in CONFIGS.items():
        folder(models / name, config)
    big = folder(models / "huge")
    with (big / "config.json").open("r+b") as file:
        file.truncate(1 << 30)
    pipe = folder(models / "pipe", weights="")
    os.mkfifo(pipe / "model.safetensors")
    config_pipe = folder(models / "config-pipe")
    (config_pipe / "config.json").unlink()
    os.mkfifo(config_pipe / "config.json")
    (config_pipe / "model_index.json").write_text("{}")
    device = folder(models / "device", weights="")
    (device / "model.safetensors").symlink_to("/dev/zero")
    dangling = folder(models / "dangling", weights="")
    (dangling / "model.safetensors").symlink_to("nowhere")
    (models / "lies.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    (models / "long-header.safetensors").write_bytes(struct.pack("<Q", 1 << 30) + b"{}")
    with (models / "long-header.safetensors").open("r+b") as file:
        file.truncate(2 << 30)
    (models / "deep.safetensors").write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000)
    names = [path.name for path in set(models.iterdir()) - before]
    folder(models / "esc\x1b[31m")
    folder(Path(os.fsdecode(os.fsencode(models) + b"/bytes\xff")))
    (models / "inner").mkdir()
    (models / "inner" / "a b.txt").touch()
    return names


def outside(models: Path, good: Path) -> dict[str, str]:
    """Copy `good` into `models` with files that lead out; return the names and what is told."""
    away = models.parent / "outside"
    shutil.copytree(good, away)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(good, models / name))

    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        path = copy(f"link-{file.partition('.')[0]}") / file
        path.unlink()
        path.symlink_to(away / file)
    for name, shard in (("index-out", "../../outside/model.safetensors"), ("index-bin", "w.bin")):
        path = copy(name)
        (path / "w.bin").write_bytes(b"\x80\x04.")
        safetensors(path / "other.safetensors")
        (path / "model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": {"lm_head.weight": shard}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    path = copy("named-out")
    config = json.loads((path / "config.json").read_text())
    config["transformers_weights"] = "../../outside/model.safetensors"
    (path / "config.json").write_text(json.dumps(config))
    return {
        "link-config": "link out of its folder (config.json)",
        "link-tokenizer": "link out of its folder (tokenizer.json)",
        "link-tokenizer_config": "link out of its folder (tokenizer_config.json)",
        "index-out": "no .safetensors beside it: ../../outside/model.safetensors",
        "index-bin": "no .safetensors beside it: w.bin",
        "named-out": "weights outside of the model: ../../outside/model.safetensors",
    }
