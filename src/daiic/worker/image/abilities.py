"""What a loaded pipeline can be asked for, read from its signature and its configurations."""

import inspect
import math
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.image.request import Abilities

DEFAULT_STEPS = 30
"""For pipelines whose own default is higher: today's schedulers need no more."""
_NEEDED = {"prompt", "width", "height", "num_inference_steps", "generator", "callback_on_step_end"}
_FOREIGN = {
    "mask_image",
    "strength",
    "control_image",
    "controlnet_conditioning_scale",
    "num_frames",
    "audio_length_in_s",
}
"""Parameters of pipelines that change an image, follow one, or make something else."""
DEFAULT_SIDE = 1024
"""Pixels, for the few pipelines whose configuration has no size."""


def abilities_of(pipeline: Any, name: str) -> Abilities:
    """Return what `pipeline`, called `name` by people, can do.

    Raises:
        TaskError: BAD_REQUEST if it does not make images from text alone.
    """
    parameters = inspect.signature(type(pipeline).__call__).parameters
    if not parameters.keys() >= _NEEDED or parameters.keys() & _FOREIGN:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} is a {type(pipeline).__name__}, which does not make images from text alone",
            "use a text-to-image model",
        )
    denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    scale = getattr(pipeline, "vae_scale_factor", 8)
    # Transformers cut the latent image into patches of 2 x 2.
    multiple = math.lcm(8, scale * (2 if hasattr(pipeline, "transformer") else 1))
    sample = (
        getattr(pipeline, "default_sample_size", None)
        or getattr(getattr(denoiser, "config", None), "sample_size", None)
        or DEFAULT_SIDE // scale
    )
    height, width = sample if isinstance(sample, (list, tuple)) else (sample, sample)
    guidance = parameters.get("guidance_scale")
    return Abilities(
        width=width * scale,
        height=height * scale,
        multiple=multiple,
        steps=min(parameters["num_inference_steps"].default, DEFAULT_STEPS),
        guidance=guidance.default if guidance else None,
        negative_prompt="negative_prompt" in parameters,
    )
