"""An image task as a pipeline can run it: every default filled in, every bound checked."""

import math
import secrets
from dataclasses import dataclass

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.canvas import Canvas, canvas_of
from daiic.worker.engines.diffusers.encoding import Encoding, encoding_of
from daiic.worker.limits import LIMITS

MIN_SIDE = 16
MAX_SIDE = LIMITS.side
MAX_STEPS = LIMITS.steps
MAX_GUIDANCE = LIMITS.guidance
MAX_IMAGES = LIMITS.images
MAX_PROMPT = LIMITS.prompt
MAX_PREVIEWS = LIMITS.previews
SEEDS = 2**64
STRENGTH = 0.8
"""How far an image may get from the one it begins with; diffusers' own for Stable Diffusion."""
STRENGTH_IN_MASK = 1.0
"""The same where a mask says what is to be painted anew."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a pipeline can be asked for, and what it does when not asked.

    `width` and `height` are in pixels; every side has to be a multiple of
    `multiple`. `guidance` is None where the pipeline has no such parameter.
    """

    width: int
    height: int
    multiple: int
    steps: int
    guidance: float | None
    negative_prompt: bool


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What to draw; one image for each of `seeds`.

    With a `canvas` they begin with that, and `strength` says how far they may
    get from it. `previews` of each are shown while it is drawn, at most.
    """

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance: float | None
    seeds: tuple[int, ...]
    canvas: Canvas | None
    strength: float
    encoding: Encoding
    previews: int

    @property
    def steps_drawn(self) -> int:
        """How many of the steps are done; those that would lead to the canvas are not."""
        return self.steps if self.canvas is None else round(self.steps * self.strength)


def read_request(task: pb.ImageTask, abilities: Abilities) -> ImageRequest:
    """Return what `task` asks of a pipeline with `abilities`; blocks for seconds to read an image.

    The images' seeds are the task's and those that follow it; a task without
    one gets a random seed. A side that is not given follows from the image's
    proportions if there is one; if neither is, the image gets about as many
    pixels as the pipeline's own size has.

    Raises:
        TaskError: BAD_REQUEST, naming the key, its value and what would be right.
    """
    if not task.prompt.strip() and not task.HasField("image"):
        raise _refusal("prompt", repr(task.prompt), "say what the image is to show")
    for key, text in (("prompt", task.prompt), ("negative_prompt", task.negative_prompt)):
        if len(text) > MAX_PROMPT:
            raise _refusal(key, f"{len(text)} characters long", f"use at most {MAX_PROMPT}")
    if task.negative_prompt and not abilities.negative_prompt:
        raise _refusal("negative_prompt", "not known to this model", "leave it empty")
    seed = task.seed if task.HasField("seed") else secrets.randbelow(SEEDS)
    count = _within("n", task.n or 1, MAX_IMAGES)
    steps = _within("steps", task.steps or abilities.steps, MAX_STEPS)
    strength = _strength(task, steps)
    encoding = encoding_of(task)
    guidance = _guidance(task, abilities)
    previews = min(task.previews, MAX_PREVIEWS)
    for key, pixels in (("width", task.width), ("height", task.height)):
        if pixels:
            _side(key, pixels, abilities.multiple)
    canvas = canvas_of(task)
    width, height = task.width or abilities.width, task.height or abilities.height
    if canvas is not None:
        width, height = _proportioned(canvas.image.size, task, abilities)
        canvas = canvas.fitted(width, height)
    return ImageRequest(
        prompt=task.prompt,
        negative_prompt=task.negative_prompt,
        width=_side("width", width, abilities.multiple),
        height=_side("height", height, abilities.multiple),
        steps=steps,
        guidance=guidance,
        seeds=tuple((seed + offset) % SEEDS for offset in range(count)),
        canvas=canvas,
        strength=strength,
        encoding=encoding,
        previews=previews,
    )


def _strength(task: pb.ImageTask, steps: int) -> float:
    """Return a strength that makes a whole number of `steps`, as all pipelines count them."""
    if not task.HasField("strength"):
        strength = STRENGTH_IN_MASK if task.HasField("mask") else STRENGTH
    elif not task.HasField("image"):
        raise _refusal("strength", "set, and there is no image to begin with", "leave it out")
    elif not 0.0 <= task.strength <= 1.0:  # nan is not, either
        raise _refusal("strength", f"{task.strength:g}", "use a number from 0 to 1")
    else:
        strength = task.strength
    if strength in (0.0, 1.0):
        return strength
    # Some pipelines cut off what is beyond a whole number of steps that they do, and some of those
    # that they skip; for a few numbers there is no share that both understand alike.
    for drawn in sorted(range(1, steps), key=lambda number: abs(number - steps * strength)):
        share = drawn / steps
        for near in (share, math.nextafter(share, 0), math.nextafter(share, 1)):
            if int(steps * near) == drawn == steps - int(steps - steps * near):
                return near
    return 1.0


def _proportioned(
    size: tuple[int, int], task: pb.ImageTask, abilities: Abilities
) -> tuple[int, int]:
    """Return the width and height to draw for an image of `size`."""
    if task.width and task.height:
        return task.width, task.height
    proportion = size[0] / size[1]
    if task.width:
        width, height = float(task.width), task.width / proportion
    elif task.height:
        width, height = task.height * proportion, float(task.height)
    else:
        area = abilities.width * abilities.height
        width, height = math.sqrt(area * proportion), math.sqrt(area / proportion)
    multiple = abilities.multiple
    least, most = _smallest(multiple), MAX_SIDE // multiple * multiple
    sides = (round(side / multiple) * multiple for side in (width, height))
    width, height = (min(max(side, least), most) for side in sides)
    return width, height


def _smallest(multiple: int) -> int:
    return math.ceil(MIN_SIDE / multiple) * multiple


def _side(key: str, pixels: int, multiple: int) -> int:
    smallest = _smallest(multiple)
    if not smallest <= pixels <= MAX_SIDE or pixels % multiple:
        raise _refusal(
            key, str(pixels), f"use a multiple of {multiple} from {smallest} to {MAX_SIDE} pixels"
        )
    return pixels


def _within(key: str, value: int, most: int) -> int:
    if value > most:
        raise _refusal(key, str(value), f"use a whole number from 1 to {most}")
    return value


def _guidance(task: pb.ImageTask, abilities: Abilities) -> float | None:
    if not task.HasField("guidance"):
        return abilities.guidance
    if abilities.guidance is None:
        raise _refusal("guidance", "not known to this model", "leave it out")
    if not 0.0 <= task.guidance <= MAX_GUIDANCE:  # nan is not, either
        raise _refusal("guidance", f"{task.guidance:g}", f"use a number from 0 to {MAX_GUIDANCE:g}")
    return task.guidance


def _refusal(key: str, value: str, remedy: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, f"{key} is {value}", remedy)
