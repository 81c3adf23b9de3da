"""A linear layer that some publishers put after pooling, in a folder of its own (2_Dense)."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from daiic.worker.engines.torch.activations import activation
from daiic.worker.models.checkpoint_files import PICKLED, unsafe_weights
from daiic.worker.models.model_json import bad_file, read_object, shown

_USUAL = "torch.nn.modules.activation.Tanh"


def load_dense(folder: Path, width: int) -> torch.nn.Sequential:
    """Return the layer in `folder`, which takes vectors of `width` numbers; float32, on the CPU.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, BAD_REQUEST if its files
            do not fit together, or it has an activation that is not known.
    """
    file, model = folder / "model.safetensors", f"{folder.parent.name}/{folder.name}"
    if not file.is_file():
        pickled = [f.name for f in folder.glob("*") if f.suffix in PICKLED]
        if pickled:
            raise unsafe_weights(model, pickled)
        raise bad_file(folder / file.name, "is missing", model)
    config = read_object(folder / "config.json") or {}
    named = config.get("activation_function", _USUAL)
    after = activation(named)
    if after is None:
        raise bad_file(folder / "config.json", f"has an unknown activation {shown(named)}", model)
    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise bad_file(file, f"is damaged: {error}", model) from error
    matrix, bias = weights.get("linear.weight"), weights.get("linear.bias")
    if matrix is None or matrix.dim() != 2 or matrix.shape[1] != width:
        raise bad_file(file, f"has no matrix for vectors of {width} numbers", model)
    if bias is not None and bias.shape != matrix.shape[:1]:
        raise bad_file(file, "has a bias of another size than its matrix", model)
    layer = torch.nn.Linear(width, matrix.shape[0], bias is not None)
    with torch.no_grad():
        layer.weight.copy_(matrix)
        if bias is not None:
            layer.bias.copy_(bias)
    return torch.nn.Sequential(layer, after).requires_grad_(False)
