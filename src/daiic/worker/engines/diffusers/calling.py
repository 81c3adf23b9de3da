"""How a pipeline is called: which of its parameters carry what an image task asks for.

diffusers' pipelines agree on prompt, steps and generator, and most on the size. They differ in what
guides (classifier-free guidance, or a number that a distilled model was trained with), in whether
a negative prompt has an effect, and in how they tell of their steps.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from daiic.worker.engines.diffusers.request import ImageRequest

_TRUE_GUIDANCE = "true_cfg_scale"
"""Classifier-free guidance of families whose guidance_scale is an input of a distilled model."""
_DISTILLED = "guidance_scale"
_NOTHING = " "
"""The negative prompt without which Qwen-Image's guidance is off; its publisher's own choice."""


Stepped = Callable[[int, Any, Any], None]


@dataclass(frozen=True, slots=True)
class Calling:
    """`guidance` names the parameter that guides, None if nothing does.

    `negative_prompt` says whether one has an effect, `only_with_negative` whether guidance has
    none without one. `after_step` names the parameter that takes a function to call, `sized` says
    whether the size is a parameter: else it is that of the image to begin with.
    """

    guidance: str | None
    default_guidance: float | None
    negative_prompt: bool
    only_with_negative: bool
    after_step: str | None
    sized: bool

    def arguments(self, request: ImageRequest, seed: int, stepped: Stepped) -> dict[str, Any]:
        """Return the arguments that draw one image of `request`.

        `stepped` is told how many steps are done, the time of the last and what there is then.
        What it raises ends the drawing.
        """
        arguments: dict[str, Any] = {
            "prompt": request.prompt,
            "num_inference_steps": request.steps,
            # A CPU generator gives the same noise whatever device draws.
            "generator": torch.Generator("cpu").manual_seed(seed),
        }
        if self.sized:
            arguments |= {"width": request.width, "height": request.height}
        if request.canvas is not None:
            arguments |= {"image": request.canvas.image, "strength": request.strength}
            if request.canvas.mask is not None:
                arguments["mask_image"] = request.canvas.mask
        guided = request.guidance is not None
        if self.guidance and guided:
            arguments[self.guidance] = request.guidance
        negative = request.negative_prompt or (_NOTHING if self.only_with_negative else "")
        if negative:
            arguments["negative_prompt"] = negative

        def on_step_end(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> Any:
            stepped(step + 1, timestep, tensors.get("latents"))
            return tensors

        def callback(step: int, timestep: Any, latents: Any) -> None:
            stepped(step + 1, timestep, latents)

        if self.after_step == "callback":
            arguments["callback"] = callback
        elif self.after_step:
            arguments[self.after_step] = on_step_end
        return arguments


def calling_of(pipeline: Any) -> Calling:
    """Return how `pipeline` is called, as its signature and its denoiser's configuration say."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    true_guidance = parameters.get(_TRUE_GUIDANCE)
    plain = parameters.get(_DISTILLED)
    has_negative = "negative_prompt" in parameters
    after_step = next((n for n in ("callback_on_step_end", "callback") if n in parameters), None)
    sized = {"width", "height"} <= parameters.keys()
    rest = (after_step, sized)
    if true_guidance and (plain is None or plain.default is None):
        return Calling(_TRUE_GUIDANCE, true_guidance.default, has_negative, True, *rest)
    if plain is None or plain.default is None:
        return Calling(None, None, has_negative, False, *rest)
    if not true_guidance:
        return Calling(_DISTILLED, plain.default, has_negative, False, *rest)
    denoiser = getattr(pipeline, "transformer", None)
    takes_it = getattr(getattr(denoiser, "config", None), "guidance_embeds", True)
    if takes_it:
        return Calling(_DISTILLED, plain.default, False, False, *rest)
    return Calling(None, None, False, False, *rest)
