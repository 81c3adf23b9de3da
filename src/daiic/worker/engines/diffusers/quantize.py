"""Quantising a pipeline's matrices with bitsandbytes, after it was loaded in full precision.

diffusers' own way needs a GPU and does not reach the text encoders of single-file checkpoints;
exchanging the layers works on every backend and for every source.
"""

import logging
from collections.abc import Iterator
from typing import Any

import bitsandbytes
import torch
from torch import nn

LEAST_WEIGHTS = 4096
"""Of a matrix that is worth it; smaller ones lose more precision than they save memory."""
ROW, ROWS = 64, 32
"""bitsandbytes packs 4-bit weights for CPUs so many at once, and fails on odd remainders."""
OUTLIER = 6.0
"""Activations beyond this are multiplied in 16 bits (Dettmers et al., LLM.int8(), 2022)."""
KEPT = ("vae", "safety_checker", "image_encoder")
"""Parts that stay in full precision: small, or convolutions, and touchy."""


def quantize(pipeline: Any, bits: str, device: torch.device, dtype: torch.dtype) -> None:
    """Exchange the linear layers of denoiser and text encoders for "4bit" (NF4) or "8bit" ones.

    Each is quantised on `device` and stays there; `dtype` is what 4-bit layers
    compute in.

    Raises:
        QuantizationError: before anything is changed, if it cannot be done.
    """
    # It tells of the cast to float16 at each multiplication.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    layers = list(_linear_layers(pipeline))
    if not layers:
        raise QuantizationError("it has no matrices that could be quantised")
    try:
        probe = nn.Linear(64, 64).to(dtype)
        _quantized(probe, bits, device, dtype)(torch.zeros(1, 64, dtype=dtype, device=device))
    except (ImportError, RuntimeError, NotImplementedError, AttributeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise QuantizationError(
            f"bitsandbytes cannot do it on this {device.type}: {reason}"
        ) from error
    for parent, name, layer in layers:
        setattr(parent, name, _quantized(layer, bits, device, dtype))


class QuantizationError(Exception):
    """The pipeline stays as it is; the message says why."""


def _linear_layers(pipeline: Any) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for part_name, part in pipeline.components.items():
        if not isinstance(part, nn.Module) or part_name in KEPT:
            continue
        touchy = getattr(part, "_keep_in_fp32_modules", None) or ()
        for path, parent in part.named_modules():
            for name, layer in parent.named_children():
                # Subclasses do more than multiply, or are quantised already.
                if (
                    type(layer) is nn.Linear
                    and layer.weight.numel() >= LEAST_WEIGHTS
                    and layer.in_features % ROW == 0
                    and layer.out_features % ROWS == 0
                    and not any(word in touchy for word in (*path.split("."), name))
                ):
                    yield parent, name, layer


def _quantized(layer: nn.Linear, bits: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    size = (layer.in_features, layer.out_features, layer.bias is not None)
    new: nn.Module
    if bits == "4bit":
        new = bitsandbytes.nn.Linear4bit(
            *size, compute_dtype=dtype, quant_type="nf4", device="meta"
        )
        new.weight = bitsandbytes.nn.Params4bit(
            layer.weight.data, requires_grad=False, quant_type="nf4", module=new
        )
    else:
        new = bitsandbytes.nn.Linear8bitLt(
            *size, has_fp16_weights=False, threshold=OUTLIER, device="meta"
        )
        new.weight = bitsandbytes.nn.Int8Params(
            layer.weight.data, requires_grad=False, has_fp16_weights=False
        )
    if layer.bias is not None:
        new.bias = nn.Parameter(layer.bias.data, requires_grad=False)
    # This is the moment when the weights are quantised.
    return new.to(device).train(layer.training)
