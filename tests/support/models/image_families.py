"""A pipeline of each family of image models: narrow and untrained, else built as it was published.

Kept from the published configurations: the kinds and number of blocks at each resolution, how many
heads there are to a width or how wide a head is, classes of text encoders and tokenizers, position
encodings, latent channels, schedulers. Made small: widths, repeated layers and vocabularies.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from support.models.image_text_encoders import (
    clip,
    clip_tokenizer,
    gemma_2,
    qwen_2_5_vl,
    qwen_3,
    t5,
)


@dataclass(frozen=True, slots=True)
class Family:
    """`example` is what it was built after, `side` its default size, `usage` its publisher's."""

    name: str
    example: str
    build: Callable[[], Any]
    side: int
    usage: dict[str, Any] = field(default_factory=dict)


def _autoencoder(**published: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **published,
    )


def _flux_autoencoder() -> Any:
    return _autoencoder(
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _unet(**published: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64, 128, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        **published,
    )


LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def _safety_checker() -> StableDiffusionSafetyChecker:
    vision = {"image_size": 32, "patch_size": 16, "hidden_size": 32, "intermediate_size": 32}
    vision |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    checker = StableDiffusionSafetyChecker(
        transformers.CLIPConfig(vision_config=vision, projection_dim=32)
    )
    # Untrained, it finds nothing objectionable.
    torch.nn.init.constant_(checker.concept_embeds_weights, 2.0)
    torch.nn.init.constant_(checker.special_care_embeds_weights, 2.0)
    return checker


def _stable_diffusion_1_5() -> Any:
    return diffusers.StableDiffusionPipeline(
        vae=_autoencoder(),
        text_encoder=clip(transformers.CLIPTextModel, 64),
        tokenizer=clip_tokenizer(),
        unet=_unet(sample_size=64, attention_head_dim=8, cross_attention_dim=64),
        scheduler=diffusers.PNDMScheduler(**LINEAR, skip_prk_steps=True, steps_offset=1),
        safety_checker=_safety_checker(),
        feature_extractor=transformers.CLIPImageProcessor(crop_size=32, size={"shortest_edge": 32}),
    )


def _stable_diffusion_2_1() -> Any:
    return diffusers.StableDiffusionPipeline(
        vae=_autoencoder(),
        text_encoder=clip(transformers.CLIPTextModel, 64, hidden_act="gelu"),
        tokenizer=clip_tokenizer(pad_token="!"),
        unet=_unet(
            sample_size=96,
            attention_head_dim=(1, 2, 4, 4),
            cross_attention_dim=64,
            use_linear_projection=True,
            upcast_attention=True,
        ),
        scheduler=diffusers.DDIMScheduler(
            **LINEAR,
            prediction_type="v_prediction",
            set_alpha_to_one=False,
            clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=transformers.CLIPImageProcessor(),
        requires_safety_checker=False,
    )


def _stable_diffusion_xl() -> Any:
    return diffusers.StableDiffusionXLPipeline(
        vae=_autoencoder(scaling_factor=0.13025, sample_size=1024, force_upcast=True),
        text_encoder=clip(transformers.CLIPTextModel, 64),
        text_encoder_2=clip(transformers.CLIPTextModelWithProjection, 128, hidden_act="gelu"),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad_token="!"),
        unet=diffusers.UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(32, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 3),
            attention_head_dim=(1, 2, 4),
            cross_attention_dim=192,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + 128,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(
            **LINEAR, timestep_spacing="leading", steps_offset=1
        ),
    )


def _stable_diffusion_3() -> Any:
    text_encoder_3, tokenizer_3 = t5(256)
    text_encoder = clip(transformers.CLIPTextModelWithProjection, 64)
    torch.nn.init.eye_(text_encoder.text_projection.weight)  # as published
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=128,
            num_layers=3,
            attention_head_dim=64,
            num_attention_heads=2,
            joint_attention_dim=256,
            caption_projection_dim=128,
            pooled_projection_dim=64 + 128,
            pos_embed_max_size=192,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=text_encoder,
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(transformers.CLIPTextModelWithProjection, 128, hidden_act="gelu"),
        tokenizer_2=clip_tokenizer(pad_token="!"),
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    )


def _flux() -> Any:
    text_encoder_2, tokenizer_2 = t5(128)
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
        ),
        vae=_flux_autoencoder(),
        text_encoder=clip(transformers.CLIPTextModel, 64),
        tokenizer=clip_tokenizer(),
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=diffusers.FluxTransformer2DModel(
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=128,
            num_attention_heads=2,
            joint_attention_dim=128,
            pooled_projection_dim=64,
            guidance_embeds=True,
        ),
    )


def _sana() -> Any:
    text_encoder, tokenizer = gemma_2(128)
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    return diffusers.SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=diffusers.AutoencoderDC(
            encoder_block_types=blocks,
            decoder_block_types=blocks,
            encoder_block_out_channels=(8, 16, 32, 32, 64, 64),
            decoder_block_out_channels=(8, 16, 32, 32, 64, 64),
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=(1,) * 6,
            downsample_block_type="Conv",
            upsample_block_type="interpolate",
            scaling_factor=0.41407,
        ),
        transformer=diffusers.SanaTransformer2DModel(
            num_attention_heads=4,
            attention_head_dim=32,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=64,
            cross_attention_dim=128,
            caption_channels=128,
            sample_size=16,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def _attentive(transformer: Any) -> Any:
    """Return `transformer` with weights so large that a few words in a long text have a say."""
    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.dim() == 2:
                weight *= 3
    return transformer


def _lumina_2() -> Any:
    text_encoder, tokenizer = gemma_2(128)
    return diffusers.Lumina2Pipeline(
        transformer=_attentive(
            diffusers.Lumina2Transformer2DModel(
                hidden_size=576,
                num_layers=1,
                num_refiner_layers=1,
                num_attention_heads=6,
                num_kv_heads=2,
                cap_feat_dim=128,
            )
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=_flux_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    )


def _qwen_image() -> Any:
    text_encoder, tokenizer = qwen_2_5_vl()
    return diffusers.QwenImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            max_image_seq_len=8192,
            shift_terminal=0.02,
        ),
        vae=diffusers.AutoencoderKLQwenImage(base_dim=8),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=_attentive(
            diffusers.QwenImageTransformer2DModel(
                num_layers=2, num_attention_heads=2, joint_attention_dim=256
            )
        ),
    )


def _z_image() -> Any:
    text_encoder, tokenizer = qwen_3(128)
    return diffusers.ZImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_flux_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=_attentive(
            diffusers.ZImageTransformer2DModel(
                dim=256, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=128
            )
        ),
    )


FAMILIES = (
    Family("SD 1.5", "stable-diffusion-v1-5/stable-diffusion-v1-5", _stable_diffusion_1_5, 512),
    Family("SD 2.1", "stabilityai/stable-diffusion-2-1", _stable_diffusion_2_1, 768),
    Family("SDXL", "stabilityai/stable-diffusion-xl-base-1.0", _stable_diffusion_xl, 1024),
    Family("SD 3", "stabilityai/stable-diffusion-3-medium-diffusers", _stable_diffusion_3, 1024),
    Family("Flux", "black-forest-labs/FLUX.1-dev", _flux, 1024),
    Family("Sana", "Efficient-Large-Model/Sana_600M_512px_diffusers", _sana, 512),
    Family("Lumina 2", "Alpha-VLLM/Lumina-Image-2.0", _lumina_2, 1024),
    Family("Qwen-Image", "Qwen/Qwen-Image", _qwen_image, 1024, {"negative_prompt": " "}),
    Family("Z-Image", "Tongyi-MAI/Z-Image-Turbo", _z_image, 1024),
)
