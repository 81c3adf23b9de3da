"""Pipelines of other kinds than the shipped one: tiny, untrained, and built here."""

from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.image import load_image
from daiic.worker.memory_budget import MemoryBudget

torch.set_num_threads(1)

TOKENIZER = Path(__file__).parents[3] / "local-models" / "tiny-shapes.config" / "tokenizer"


@pytest.fixture(scope="module")
def stable_diffusion_xl(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            sample_size=32,
        ),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=32,
            block_out_channels=(32, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=6 * 8 + 64,
            cross_attention_dim=128,
        ),
        scheduler=EulerDiscreteScheduler(),
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-xl"
    pipeline.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("quantization", ["none", "4bit"])
async def test_stable_diffusion_xl_draws_at_its_own_size(stable_diffusion_xl, quantization):
    engine = await load_image(
        stable_diffusion_xl,
        backend=choose("cpu"),
        quantization=quantization,
        budget=MemoryBudget(vram_bytes=0, ram_bytes=8 << 30),
        ram_offload=True,
        allow_downloads=False,
        token=None,
        cache_dir=None,
        progress=lambda share: None,
    )
    try:
        assert (engine.quantization, engine.fallback) == (quantization, "")
        task = pb.Task(image=pb.ImageTask(prompt="a red circle", steps=2, seed=1))
        (result,) = [part async for part in engine.run(task)]
    finally:
        await engine.close()
    png = result.images[0].png
    assert png.startswith(b"\x89PNG")
    # The header's width and height: 32 latents, doubled by the autoencoder's one step up.
    assert [int.from_bytes(png[at : at + 4]) for at in (16, 20)] == [64, 64]
