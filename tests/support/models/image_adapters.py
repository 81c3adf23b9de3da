"""Adapters (LoRA) of the small image model: untrained, and strong enough to be seen."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

RANK = 2


def write_lora(pipeline: Any, file: Path, seed: int, strength: float = 0.3) -> None:
    """Write an adapter of every query and output of the pipeline's attention, and of its texts'.

    As diffusers' own training scripts write them.
    """
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for part, endings in (("unet", ("to_q", "to_out.0")), ("text_encoder", ("q_proj",))):
        for name, layer in getattr(pipeline, part).named_modules():
            if name.endswith(endings):
                wide, high = layer.in_features, layer.out_features
                down = torch.randn(RANK, wide, generator=random) / wide**0.5
                up = torch.randn(high, RANK, generator=random) * strength
                weights[f"{part}.{name}.lora_A.weight"] = down
                weights[f"{part}.{name}.lora_B.weight"] = up
    file.parent.mkdir(exist_ok=True)
    save_file(weights, file)
