"""An image task as a pipeline can run it: every default filled in, every bound checked."""

import math
import secrets
from dataclasses import dataclass

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

MIN_SIDE = 16
MAX_SIDE = LIMITS.side
MAX_STEPS = LIMITS.steps
MAX_GUIDANCE = LIMITS.guidance
MAX_IMAGES = LIMITS.images
MAX_PROMPT = LIMITS.prompt
SEEDS = 2**64


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
    """What to draw; one image for each of `seeds`."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance: float | None
    seeds: tuple[int, ...]


def read_request(task: pb.ImageTask, abilities: Abilities) -> ImageRequest:
    """Return what `task` asks of a pipeline with `abilities`.

    The images' seeds are the task's and those that follow it; a task without
    one gets a random seed.

    Raises:
        TaskError: BAD_REQUEST, naming the key, its value and what would be right.
    """
    if not task.prompt.strip():
        raise _refusal("prompt", repr(task.prompt), "say what the image is to show")
    for key, text in (("prompt", task.prompt), ("negative_prompt", task.negative_prompt)):
        if len(text) > MAX_PROMPT:
            raise _refusal(key, f"{len(text)} characters long", f"use at most {MAX_PROMPT}")
    if task.negative_prompt and not abilities.negative_prompt:
        raise _refusal("negative_prompt", "not known to this model", "leave it empty")
    seed = task.seed if task.HasField("seed") else secrets.randbelow(SEEDS)
    count = _within("n", task.n or 1, MAX_IMAGES)
    return ImageRequest(
        prompt=task.prompt,
        negative_prompt=task.negative_prompt,
        width=_side("width", task.width or abilities.width, abilities.multiple),
        height=_side("height", task.height or abilities.height, abilities.multiple),
        steps=_within("steps", task.steps or abilities.steps, MAX_STEPS),
        guidance=_guidance(task, abilities),
        seeds=tuple((seed + offset) % SEEDS for offset in range(count)),
    )


def _side(key: str, pixels: int, multiple: int) -> int:
    smallest = math.ceil(MIN_SIDE / multiple) * multiple
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
