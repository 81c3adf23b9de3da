"""Reading an adapter as PEFT writes it: adapter_config.json and adapter_model.safetensors.

For the layer M that the tensor base_model.model.M.lora_A.weight [rank, inputs] names, and the
like lora_B [outputs, rank], an output gets lora_B lora_A input more, times alpha / rank (LoRA: Hu
et al., Low-Rank Adaptation of Large Language Models, 2021) or alpha / sqrt(rank) (rsLoRA:
Kalajdzievski, 2023). What PEFT knows besides is refused: it would change answers.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.adapters import CONFIG, WEIGHTS
from daiic.worker.models.checkpoint_files import tensor_names
from daiic.worker.models.model_json import read_object, shown

MAX_RANK = LIMITS.adapter_rank
_TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight")
_PATTERN = re.compile(r"[A-Za-z0-9_.]+")
"""Patterns are regular expressions to PEFT; those that are more than a name are refused."""
_TRAINED_BY = (
    "auto_mapping base_model_name_or_path corda_config ensure_weight_tying eva_config "
    "exclude_modules fan_in_fan_out inference_mode layers_pattern layers_to_transform "
    "loftq_config lora_dropout lora_ga_config megatron_config megatron_core peft_version "
    "qalora_group_size r rank_pattern revision runtime_config target_modules task_type"
)
_READ = "alpha_pattern bias init_lora_weights lora_alpha peft_type use_rslora"
_INERT = frozenset(f"{_TRAINED_BY} {_READ}".split(" "))
"""Keys that are read below, or say how it was trained: others would change answers."""
_INITIAL = (None, True, False, "gaussian", "orthogonal", "eva")
"""Beginnings that leave the model's own weights as they are."""
_PARTLY = (".experts.", "lm_head", "embed")
"""Parts of names of layers that do not see every token of a step."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """What one layer's output gets: `up` [outputs, rank] times `down` [rank, inputs] times it."""

    down: torch.Tensor
    up: torch.Tensor


Lora = dict[str, LowRank]
"""An adapter: by the names of the model's layers; scaled already."""


def read_lora(folder: Path, model: Any) -> Lora:
    """Return the adapter in `folder` for the layers of `model`, in its precision and places.

    Raises:
        TaskError: BAD_REQUEST if it is of another kind, does not fit, or is damaged.
    """
    config = read_object(folder / CONFIG) or {}
    _check_kind(folder, config)
    names = tensor_names(folder / WEIGHTS)
    halves: dict[str, dict[str, str]] = {}
    for name in names:
        found = _TENSOR.fullmatch(name)
        if found is None:
            raise _refused(folder, f"has {shown(name)}, which is not supported")
        halves.setdefault(found[1], {})[found[2]] = name
    if not halves:
        raise _refused(folder, "is empty")
    layers = _layers(model)
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise _refused(folder, f"is damaged: {error}") from error
    lora: Lora = {}
    for written, pair in halves.items():
        name = _layer_named(folder, written, layers)
        if set(pair) != {"A", "B"} or name in lora:
            raise _refused(folder, f"has no pair of matrices for {shown(written)}")
        down, up = weights[pair["A"]], weights[pair["B"]]
        _check_shapes(folder, written, down, up, layers[name])
        scale = _scale(folder, config, written, down.shape[0])
        where, dtype = _place(layers[name], model), model.dtype
        up = up.float() * scale
        if not (torch.isfinite(up).all() and torch.isfinite(down).all()):
            raise _refused(folder, f"has numbers for {shown(written)} that are not finite")
        lora[name] = LowRank(down.to(where, dtype), up.to(where, dtype))
    return lora


def bytes_of(lora: Lora) -> int:
    """Return the memory that an adapter takes."""
    return sum(pair.down.nbytes + pair.up.nbytes for pair in lora.values())


def _check_kind(folder: Path, config: dict[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise _refused(folder, f"is of the kind {shown(config.get('peft_type'))}, and not LORA")
    others = sorted(key for key, value in config.items() if value and key not in _INERT)
    if config.get("bias", "none") != "none":
        others.append("bias")
    if others:
        raise _refused(folder, f"uses {shown(others[0])}, which is not supported")
    first = config.get("init_lora_weights")
    if not any(first is one or (isinstance(one, str) and first == one) for one in _INITIAL):
        raise _refused(
            folder, f"changes the model's own weights (init_lora_weights is {shown(first)})"
        )


def _layers(model: Any) -> dict[str, Any]:
    """Return the linear layers of `model` by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }


def _layer_named(folder: Path, written: str, layers: dict[str, Any]) -> str:
    """Return which of `layers` an adapter means, whose model may have had others around them."""
    if any(part in written for part in _PARTLY):
        raise _refused(folder, f"changes {shown(written)}, which is not supported")
    if written in layers:
        return written
    inner = written.removeprefix("model.").removeprefix("language_model.").removeprefix("model.")
    found = [name for name in layers if name.endswith(f".{inner}")]
    if len(found) != 1:
        raise _refused(folder, f"changes {shown(written)}, which the model does not have")
    return found[0]


def _check_shapes(
    folder: Path, written: str, down: torch.Tensor, up: torch.Tensor, layer: Any
) -> None:
    if isinstance(layer, Conv1D):
        inputs, outputs = layer.nx, layer.nf
    else:
        inputs, outputs = layer.in_features, layer.out_features
    rank = down.shape[0] if down.dim() == 2 else 0
    if not 1 <= rank <= MAX_RANK:
        raise _refused(folder, f"has the rank {rank} for {shown(written)}; 1 to {MAX_RANK} are run")
    if tuple(down.shape) != (rank, inputs) or tuple(up.shape) != (outputs, rank):
        what = f"{tuple(down.shape)} and {tuple(up.shape)}"
        raise _refused(
            folder, f"has {what} for {shown(written)}, which takes {inputs} and gives {outputs}"
        )
    if not (down.is_floating_point() and up.is_floating_point()):
        raise _refused(folder, f"has numbers for {shown(written)} that are no floats")


def _scale(folder: Path, config: dict[str, Any], written: str, rank: int) -> float:
    alpha = config.get("lora_alpha", 8)
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise _refused(folder, "has an alpha_pattern that is no object")
    for pattern, value in patterns.items():
        if not _PATTERN.fullmatch(pattern):
            raise _refused(folder, f"has the pattern {shown(pattern)}; only names are read")
        if written == pattern or written.endswith(f".{pattern}"):
            alpha = value
            break
    if not isinstance(alpha, int | float) or not abs(alpha) <= 1e6:
        raise _refused(folder, "has an alpha that is no number")
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _place(layer: Any, model: Any) -> torch.device:
    device: torch.device = layer.weight.device
    return model.device if device.type == "meta" else device


def _refused(folder: Path, what: str) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST,
        f"the adapter {shown(folder.name)} {what}",
        "use a plain LoRA that was made for this model, or merge it into a model of its own",
    )
