"""Which kind of model a checkpoint is, told from its files alone."""

import json
from pathlib import Path
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.checkpoint_files import SUFFIX, tensor_names

_GENERATES_TEXT = ("ForCausalLM", "LMHeadModel")
_MAY_GENERATE_TEXT = "ForConditionalGeneration"
_ENCODES = ("Model", "ForMaskedLM")
_DENOISERS = ("model.diffusion_model.", "double_blocks.", "joint_blocks.")
"""How the names of a denoiser's tensors begin in single-file checkpoints of image models."""


def kind_of(path: Path) -> pb.ModelKind:
    """Return the kind of the model in the folder or .safetensors file `path`.

    Raises:
        TaskError: BAD_REQUEST if it is none that a worker can run.
        OSError: if its files cannot be read.
    """
    if path.is_file():
        if path.suffix == SUFFIX and any(
            name.startswith(_DENOISERS) for name in tensor_names(path)
        ):
            return pb.IMAGE
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} is not a checkpoint of an image model",
            "a single file must be a whole Stable Diffusion checkpoint; put a language model into "
            "the models folder as a folder with its config.json and tokenizer",
        )
    if (path / "model_index.json").is_file():
        return pb.IMAGE
    if (path / "modules.json").is_file():
        return pb.EMBEDDING
    return _kind_of_config(path.name, _read(path / "config.json"))


def is_model(path: Path) -> bool:
    """Return whether `path` is a .safetensors file, or a folder with a model's config."""
    if path.is_file():
        return path.suffix == SUFFIX
    return any((path / name).is_file() for name in ("config.json", "model_index.json"))


def _kind_of_config(name: str, config: dict[str, Any]) -> pb.ModelKind:
    architectures = [str(item) for item in config.get("architectures") or ()]
    for architecture in architectures:
        if architecture.endswith(_GENERATES_TEXT):
            return pb.TEXT
        if architecture.endswith(_MAY_GENERATE_TEXT) and not config.get("is_encoder_decoder"):
            return pb.TEXT
        if architecture.endswith(_ENCODES):
            return pb.EMBEDDING
    raise TaskError(
        pb.BAD_REQUEST,
        f"{name} is a model of a kind that workers do not run "
        f"({', '.join(architectures) or 'its config.json names no architecture'})",
        "use a causal language model, a text-to-image pipeline of diffusers, or a text encoder",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise TaskError(
            pb.BAD_REQUEST, f"{path.parent.name}/{path.name} is not valid JSON", "download it again"
        )
    return config
