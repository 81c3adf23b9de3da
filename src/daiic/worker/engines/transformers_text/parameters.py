"""What a task asks for, completed with the model's own defaults, and checked."""

import math
import secrets
from dataclasses import dataclass

from transformers import GenerationConfig

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.sampling import Sampling
from daiic.worker.limits import LIMITS

DEFAULT_MAX_TOKENS = 512
COLDEST = 1e-4
"""Below this temperature, logits divided by it say no more than which is largest."""

MOST_STOP_STRINGS = LIMITS.stop_strings


@dataclass(frozen=True, slots=True)
class Parameters:
    """How one answer is made; `max_tokens` fits the context."""

    sampling: Sampling
    stop: tuple[str, ...]
    max_tokens: int


def resolve(
    task: pb.TextTask, defaults: GenerationConfig, *, prompt_tokens: int, context: int
) -> Parameters:
    """Return the parameters of `task` for a model whose context has `context` tokens.

    Raises:
        TaskError: BAD_REQUEST for a value that cannot be used, or a prompt
            that leaves no room for an answer.
    """
    room = context - prompt_tokens
    if room < 1:
        raise _bad(
            f"the prompt has {prompt_tokens} tokens and the model's context {context}",
            f"shorten the prompt to at most {context - 1} tokens",
        )
    if len(task.stop) > MOST_STOP_STRINGS:
        raise _bad(f"`stop` has {len(task.stop)} strings", f"send at most {MOST_STOP_STRINGS}")
    if "" in task.stop:
        raise _bad("`stop` has an empty string", "leave it out")
    wanted = task.max_tokens or defaults.max_new_tokens or DEFAULT_MAX_TOKENS
    return Parameters(_sampling(task, defaults), tuple(task.stop), min(wanted, room))


def _sampling(task: pb.TextTask, defaults: GenerationConfig) -> Sampling:
    if task.HasField("temperature"):
        temperature = task.temperature
    else:
        temperature = _or(defaults.temperature, 1.0) if defaults.do_sample else 0.0
    top_p = task.top_p if task.HasField("top_p") else _or(defaults.top_p, 1.0)
    top_k = task.top_k if task.HasField("top_k") else int(_or(defaults.top_k, 0))
    if not (math.isfinite(temperature) and temperature >= 0):
        raise _bad(
            f"`temperature` is {temperature:g}", "send 0 for greedy, 1 for the model as it is"
        )
    if not 0 < top_p <= 1:
        raise _bad(f"`top_p` is {top_p:g}", "send a number above 0 and up to 1, which cuts nothing")
    seed = task.seed if task.HasField("seed") else secrets.randbits(64)
    return Sampling(temperature if temperature >= COLDEST else 0.0, top_k, top_p, seed)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _bad(what: str, remedy: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, what, remedy)
