"""Writes a Stable Diffusion as one .safetensors file with the names of the original release.

The weights of diffusers' UNet2DConditionModel, AutoencoderKL and CLIPTextModel get the names under
which the first Stable Diffusion checkpoints keep them, which `from_single_file` reads.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

Weights = dict[str, torch.Tensor]
Rules = tuple[tuple[str, str], ...]

UNET_FRAME: Rules = (
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
)
UNET_RESNET: Rules = (
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.norm2\.", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.conv_shortcut\.", ".skip_connection."),
)
VAE_NAMES: Rules = (
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r".down.\1.block.\2."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
)


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def unet_names(weights: Mapping[str, torch.Tensor], layers_per_block: int) -> Weights:
    """The UNet's weights; blocks of `layers_per_block` layers become one running number."""
    stride = layers_per_block + 1
    attention_blocks = {
        name.split(".")[1] for name in weights if re.match(r"up_blocks\.\d+\.att", name)
    }
    renamed = {}
    for name, weight in weights.items():
        new = _renamed(name, UNET_FRAME)
        if found := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", name):
            side, block, kind, layer, rest = found.groups()
            index = int(block) * stride + int(layer) + (side == "down")
            put = "input_blocks" if side == "down" else "output_blocks"
            new = f"{put}.{index}.{0 if kind == 'resnets' else 1}.{rest}"
        elif found := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.*)", name):
            new = f"input_blocks.{(int(found[1]) + 1) * stride}.0.op.{found[2]}"
        elif found := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.*)", name):
            place = 2 if found[1] in attention_blocks else 1
            new = (
                f"output_blocks.{int(found[1]) * stride + layers_per_block}.{place}.conv.{found[2]}"
            )
        if "resnets" in name:
            new = _renamed(new, UNET_RESNET)
        renamed[f"model.diffusion_model.{new}"] = weight
    return renamed


def vae_names(weights: Mapping[str, torch.Tensor], blocks: int) -> Weights:
    """The autoencoder's weights; decoder blocks count from the end, attention is a convolution."""
    renamed = {}
    for name, weight in weights.items():
        new = _renamed(name, VAE_NAMES)
        if found := re.match(r"decoder\.up_blocks\.(\d+)\.(.*)", new):
            rest = re.sub(r"^resnets\.", "block.", found[2]).replace("upsamplers.0.", "upsample.")
            new = f"decoder.up.{blocks - 1 - int(found[1])}.{rest}"
        is_matrix = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", new)
        renamed[f"first_stage_model.{new}"] = weight[:, :, None, None] if is_matrix else weight
    return renamed


def text_names(weights: Mapping[str, torch.Tensor]) -> Weights:
    """The text encoder's weights, whether or not its class wraps them in `text_model`."""
    return {
        f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}": weight
        for name, weight in weights.items()
    }


def write_single_file(
    path: Path,
    unet: torch.nn.Module,
    vae: torch.nn.Module,
    text: torch.nn.Module,
    dtype: torch.dtype,
) -> None:
    """Write the three networks to `path` as `dtype`."""
    weights = {
        **unet_names(unet.state_dict(), unet.config.layers_per_block),
        **vae_names(vae.state_dict(), len(vae.config.block_out_channels)),
        **text_names(text.state_dict()),
    }
    floats = {
        name: weight.to(dtype).contiguous()
        for name, weight in weights.items()
        if weight.is_floating_point()
    }
    save_file(floats, path, metadata={"format": "pt"})
