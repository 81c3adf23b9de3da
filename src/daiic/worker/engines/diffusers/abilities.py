"""What a loaded pipeline can be asked for, read from its signature and its configurations."""

import inspect
import math
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.calling import Calling
from daiic.worker.engines.diffusers.request import Abilities

DEFAULT_STEPS = 30
"""For pipelines whose own default is higher: today's schedulers need no more."""
_NEEDED = ("prompt", "width", "height", "num_inference_steps", "generator")
_FOREIGN = (
    "mask_image",
    "strength",
    "control_image",
    "controlnet_conditioning_scale",
    "num_frames",
    "num_videos_per_prompt",
    "video_length",
    "audio_length_in_s",
)
"""Parameters of pipelines that change an image, follow one, or make something else."""
_PARTIAL = ("Edit", "Refiner", "Prior")
"""In the names of pipelines that begin with an image, or end without one."""
_SUPPLIED = ("self", "prompt", "args", "kwargs")
DEFAULT_SIDE = 1024
"""Pixels, for the few pipelines whose configuration has no size."""


def abilities_of(pipeline: Any, name: str, calling: Calling) -> Abilities:
    """Return what `pipeline`, called `name` by people, can do.

    Raises:
        TaskError: BAD_REQUEST if it does not make images from text alone.
    """
    kind = type(pipeline).__name__
    parameters = inspect.signature(type(pipeline).__call__).parameters
    if reason := _unfit(kind, parameters, calling):
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} is a {kind}, which does not make images from text alone: {reason}",
            "use a text-to-image model; docs/models.md has a table of families",
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
    return Abilities(
        width=width * scale,
        height=height * scale,
        multiple=multiple,
        steps=min(parameters["num_inference_steps"].default, DEFAULT_STEPS),
        guidance=calling.default_guidance,
        negative_prompt=calling.negative_prompt,
    )


def _unfit(kind: str, parameters: Any, calling: Calling) -> str:
    """Why pipelines of this `kind` cannot draw, or nothing."""
    if missing := [name for name in _NEEDED if name not in parameters]:
        return f"it takes no {' and no '.join(missing)}"
    if foreign := [name for name in _FOREIGN if name in parameters]:
        return f"it works with {' and '.join(foreign)}"
    if part := next((word for word in _PARTIAL if word in kind), None):
        return f'it is called "{part}"'
    unknown = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in _SUPPLIED
    ]
    if unknown:
        return f"it needs {' and '.join(unknown)}"
    if calling.after_step is None:
        return "it does not tell of its steps, so that a task could not be cancelled"
    return ""
