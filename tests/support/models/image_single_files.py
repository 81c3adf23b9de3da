"""Writes a pipeline as one checkpoint file, under the names of the original releases.

The UNet's and the autoencoder's names are those that the shipped model's recipe knows; here are
those of OpenCLIP's text encoder, of SDXL's additions and of Stable Diffusion 3's transformer.
"""

import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Weights = dict[str, torch.Tensor]

RECIPE = Path(__file__).parents[3] / "local-models" / "recipes" / "single_file_layout.py"
DENOISER = "model.diffusion_model."
OPEN_CLIP = {
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
    "embeddings.token_embedding": "token_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
}
SD_3_BLOCK = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
SD_3_FRAME = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}


def write_single_file(pipeline: Any, folder: Path, file: Path) -> None:
    """Write `pipeline` to `file`, and beside it the configuration that is in `folder`."""
    kind = json.loads((folder / "model_index.json").read_text())["_class_name"]
    weights = LAYOUTS[kind](pipeline)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    shutil.copytree(
        folder, file.with_suffix(".config"), ignore=shutil.ignore_patterns("*.safetensors*")
    )


def _stable_diffusion(pipeline: Any) -> Weights:
    text = pipeline.text_encoder.state_dict()
    if pipeline.text_encoder.config.hidden_act == "gelu":  # OpenCLIP's, of Stable Diffusion 2
        named = _open_clip(text, torch.eye(pipeline.text_encoder.config.hidden_size))
        text = _prefixed("cond_stage_model.model.", named)
    else:
        text = _prefixed("cond_stage_model.transformer.text_model.", text)
    return text | _unet(pipeline) | _vae(pipeline)


def _stable_diffusion_xl(pipeline: Any) -> Weights:
    first = _prefixed(
        "conditioner.embedders.0.transformer.text_model.", pipeline.text_encoder.state_dict()
    )
    second = {
        name.removeprefix("text_model."): tensor
        for name, tensor in pipeline.text_encoder_2.state_dict().items()
    }
    projection = second.pop("text_projection.weight")
    named = _open_clip(second, projection.T)
    return (
        first
        | _prefixed("conditioner.embedders.1.model.", named)
        | _unet(pipeline)
        | _vae(pipeline)
    )


def _stable_diffusion_3(pipeline: Any) -> Weights:
    # The file has no projection for the first text encoder: it is the identity.
    first = pipeline.text_encoder.state_dict()
    del first["text_projection.weight"]
    return (
        _prefixed("text_encoders.clip_l.transformer.", first)
        | _prefixed("text_encoders.clip_g.transformer.", pipeline.text_encoder_2.state_dict())
        | _prefixed("text_encoders.t5xxl.transformer.", _unshared(pipeline.text_encoder_3))
        | _prefixed(DENOISER, _sd_3_transformer(pipeline.transformer))
        | _vae(pipeline)
    )


LAYOUTS: dict[str, Callable[[Any], Weights]] = {
    "StableDiffusionPipeline": _stable_diffusion,
    "StableDiffusionXLPipeline": _stable_diffusion_xl,
    "StableDiffusion3Pipeline": _stable_diffusion_3,
}


def _prefixed(prefix: str, weights: Mapping[str, torch.Tensor]) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def _unshared(t5: Any) -> Weights:
    return {n: t for n, t in t5.state_dict().items() if n != "encoder.embed_tokens.weight"}


def _unet(pipeline: Any) -> Weights:
    unet = pipeline.unet
    named = _recipe().unet_names(unet.state_dict(), unet.config.layers_per_block)
    for part, old in (("linear_1", "0.0"), ("linear_2", "0.2")):
        for kind in ("weight", "bias"):
            weight = named.pop(f"{DENOISER}add_embedding.{part}.{kind}", None)
            if weight is not None:
                named[f"{DENOISER}label_emb.{old}.{kind}"] = weight
    return named


def _vae(pipeline: Any) -> Weights:
    vae = pipeline.vae
    named: Weights = _recipe().vae_names(vae.state_dict(), len(vae.config.block_out_channels))
    return named


def _recipe() -> Any:
    spec = importlib.util.spec_from_file_location(RECIPE.stem, RECIPE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _open_clip(weights: Mapping[str, torch.Tensor], projection: torch.Tensor) -> Weights:
    named: Weights = {"text_projection": projection}
    for name, tensor in weights.items():
        if ".self_attn." in name and "out_proj" not in name:
            continue
        for new, old in OPEN_CLIP.items():
            name = name.replace(new, old)
        named[name] = tensor
    for layer in {found[1] for name in weights if (found := re.search(r"layers\.(\d+)\.", name))}:
        for kind in ("weight", "bias"):
            parts = [weights[f"encoder.layers.{layer}.self_attn.{p}_proj.{kind}"] for p in "qkv"]
            named[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
    return named


def _sd_3_transformer(transformer: Any) -> Weights:
    weights = transformer.state_dict()
    last = transformer.config.num_layers - 1
    swapped = ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear")
    named: Weights = {}
    for name, tensor in weights.items():
        if name.startswith(swapped):  # shift and scale stand in the other order
            tensor = torch.cat(tuple(reversed(tensor.chunk(2))))
        found = re.fullmatch(r"transformer_blocks\.(\d+)\.(.*?)(\.weight|\.bias)", name)
        if found and found[2] in SD_3_BLOCK:
            named[f"joint_blocks.{found[1]}.{SD_3_BLOCK[found[2]]}{found[3]}"] = tensor
        elif not found:
            part = next(new for new in SD_3_FRAME if name.startswith(new))
            named[name.replace(part, SD_3_FRAME[part])] = tensor
    for block in range(last + 1):
        attention = f"transformer_blocks.{block}.attn."
        for kind in ("weight", "bias"):
            for side, names in (
                ("x_block", ("to_q", "to_k", "to_v")),
                ("context_block", ("add_q_proj", "add_k_proj", "add_v_proj")),
            ):
                parts = [weights[f"{attention}{part}.{kind}"] for part in names]
                named[f"joint_blocks.{block}.{side}.attn.qkv.{kind}"] = torch.cat(parts)
    return named
