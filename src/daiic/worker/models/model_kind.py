"""Which kind of model a checkpoint is, told from its files alone."""

from pathlib import Path
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.checkpoint_files import SUFFIX, tensor_names
from daiic.worker.models.model_json import bad_file, read_object, shown

_GENERATES_TEXT = ("ForCausalLM", "LMHeadModel")
_MAY_GENERATE_TEXT = "ForConditionalGeneration"
_ENCODES = ("Model", "ForMaskedLM")
_DENOISERS = ("model.diffusion_model.", "double_blocks.", "joint_blocks.")
"""How the names of a denoiser's tensors begin in single-file checkpoints of image models."""


def kind_of(path: Path, name: str) -> pb.ModelKind:
    """Return the kind of the model `name` in the folder or .safetensors file `path`.

    Raises:
        TaskError: BAD_REQUEST if it is none that a worker can run.
        OSError: if its files cannot be read.
    """
    if _is_file(path):
        if path.suffix == SUFFIX and any(
            tensor.startswith(_DENOISERS) for tensor in tensor_names(path)
        ):
            return pb.IMAGE
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} is not a checkpoint of an image model",
            "a single file must be a whole Stable Diffusion checkpoint; put a language model into "
            "the models folder as a folder with its config.json and tokenizer",
        )
    if _is_file(path / "model_index.json"):
        return pb.IMAGE
    if _is_file(path / "modules.json"):
        return pb.EMBEDDING
    file = path / "config.json"
    return _kind_of_config(file, read_object(file, name=name) or {}, name)


def is_model(path: Path) -> bool:
    """Return whether `path` is a .safetensors file, or a folder with a model's config."""
    if _is_file(path):
        return path.suffix == SUFFIX
    return any(_is_file(path / name) for name in ("config.json", "model_index.json"))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # not for us to look at
        return False


def _kind_of_config(file: Path, config: dict[str, Any], name: str) -> pb.ModelKind:
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(a, str) for a in architectures):
        raise bad_file(file, "has `architectures` that are no list of names", name)
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
        f"({shown(', '.join(architectures)) or 'its config.json names no architecture'})",
        "use a causal language model, a text-to-image pipeline of diffusers, or a text encoder",
    )
