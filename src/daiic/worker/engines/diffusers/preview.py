"""How an image looks while it is drawn.

What a pipeline has in its hands between two steps is the image under noise. Deterministic samplers
go from one to the other in a straight line, in coordinates that depend on how they add noise
(c · image + s · noise): two points on it are enough to see where it leads.
"""

from collections.abc import Callable
from typing import Any

import structlog
import torch
from PIL import Image

from daiic.worker.engines.diffusers.request import ImageRequest

STRAIGHT = frozenset(
    {
        "DDIMScheduler",
        "DPMSolverMultistepScheduler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
    }
)
"""The samplers among diffusers' that go straight."""

log = structlog.get_logger()


class Previews:
    """Shows one image of `request` to `show` while `pipeline` draws it, as often as that asks."""

    def __init__(
        self, pipeline: Any, request: ImageRequest, show: Callable[[int, Image.Image], None]
    ) -> None:
        """`show` gets the number of the preview, from 0, and how the image looks."""
        self._pipeline = pipeline
        self._request = request
        self._show = show
        self._due = shown_after(request.steps_drawn, request.previews)
        self._shown = 0
        self._before: Any = None

    def stepped(self, done: int, timestep: Any, latents: Any) -> None:
        """Note what the pipeline has after `done` steps, the last of them at `timestep`."""
        before, self._before = self._before, latents
        if done not in self._due or latents is None:
            return
        try:
            image = _decoded(
                self._pipeline, self._without_noise(before, latents, timestep), self._request
            )
        except (AttributeError, TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
            # A pipeline may keep its work in a form that is not known here: it draws on unseen.
            log.warning("no preview", pipeline=type(self._pipeline).__name__, reason=str(error))
            self._due = frozenset()
            return
        request = self._request
        if image.size != (request.width, request.height):  # some families draw near the size only
            image = image.resize((request.width, request.height))
        canvas = request.canvas
        self._show(self._shown, image if canvas is None else canvas.keep_rest(image))
        self._shown += 1

    def _without_noise(self, before: Any, now: Any, timestep: Any) -> Any:
        scheduler = self._pipeline.scheduler
        if before is None or type(scheduler).__name__ not in STRAIGHT:
            return now
        times = scheduler.timesteps.tolist()
        at = times.index(float(timestep))
        if len(set(times)) != len(times) or at + 1 == len(times):
            return now
        c0, s0 = _shares(scheduler, at)
        c1, s1 = _shares(scheduler, at + 1)
        across = s1 * c0 - s0 * c1
        return (s1 * before - s0 * now) / across if abs(across) > 1e-6 else now


def shown_after(steps: int, previews: int) -> frozenset[int]:
    """Return after which of `steps` an image is shown, evenly spread; the last one ends it."""
    spread = {round(steps * part / (previews + 1)) for part in range(1, previews + 1)}
    return frozenset(spread - {0, steps})


def _shares(scheduler: Any, step: int) -> tuple[float, float]:
    """Return the shares of image and noise before the step of that number."""
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
        image, noise = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[step])
        return float(image), float(noise)
    if not hasattr(scheduler, "sigmas"):
        clean = float(scheduler.alphas_cumprod[int(scheduler.timesteps[step])])
        return clean**0.5, (1 - clean) ** 0.5
    sigma = float(scheduler.sigmas[step])
    return (1 - sigma if "FlowMatch" in type(scheduler).__name__ else 1.0), sigma


@torch.inference_mode()
def _decoded(pipeline: Any, latents: Any, request: ImageRequest) -> Image.Image:
    vae = pipeline.vae
    if latents.dim() == 3:  # patches in a row
        sides = (request.height, request.width, pipeline.vae_scale_factor)
        latents = pipeline._unpack_latents(latents, *sides)
    config = vae.config
    latents = latents / (getattr(config, "scaling_factor", None) or 1.0)
    shift = getattr(config, "shift_factor", None) or 0.0
    mean, std = (getattr(config, key, None) for key in ("latents_mean", "latents_std"))
    if mean is not None and std is not None:
        shape = (1, -1) + (1,) * (latents.dim() - 2)
        latents = latents * torch.tensor(std).view(shape).to(latents)
        shift = torch.tensor(mean).view(shape).to(latents)
    # As pipelines do: in float16 the decoders of some models overflow.
    upcast = vae.dtype == torch.float16 and getattr(config, "force_upcast", False)
    if upcast:
        vae.to(torch.float32)
    try:
        decoded = vae.decode((latents + shift).to(vae.dtype), return_dict=False)[0]
    finally:
        if upcast:
            vae.to(torch.float16)
    if decoded.dim() == 5:  # a film of one picture
        decoded = decoded[:, :, 0]
    image: Image.Image = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
    return image
