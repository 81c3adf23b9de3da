"""What a task asks for, completed with the model's own defaults, and checked."""

import secrets
from dataclasses import dataclass

from transformers import GenerationConfig

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import (
    COLDEST,
    DEFAULT_MAX_TOKENS,
    check_chances,
    check_stop,
    room_for_answer,
)
from daiic.worker.engines.transformers_text.sampling import Sampling


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
    room = room_for_answer(prompt_tokens, context)
    check_stop(task.stop)
    wanted = task.max_tokens or defaults.max_new_tokens or DEFAULT_MAX_TOKENS
    return Parameters(_sampling(task, defaults), tuple(task.stop), min(wanted, room))


def _sampling(task: pb.TextTask, defaults: GenerationConfig) -> Sampling:
    if task.HasField("temperature"):
        temperature = task.temperature
    else:
        temperature = _or(defaults.temperature, 1.0) if defaults.do_sample else 0.0
    top_p = task.top_p if task.HasField("top_p") else _or(defaults.top_p, 1.0)
    top_k = task.top_k if task.HasField("top_k") else int(_or(defaults.top_k, 0))
    check_chances(temperature, top_p)
    seed = task.seed if task.HasField("seed") else secrets.randbits(64)
    return Sampling(temperature if temperature >= COLDEST else 0.0, top_k, top_p, seed)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
