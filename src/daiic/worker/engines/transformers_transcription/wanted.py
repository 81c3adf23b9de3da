"""What a transcribe task asks for, checked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.transformers_transcription.hearing import Hearing
from daiic.worker.limits import LIMITS

LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""The temperatures at which a window is tried until one gives something good."""
COLDEST = 1e-3
MAX_PROMPT = LIMITS.prompt


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a recording is written down; an empty `language` is to be found out."""

    language: str
    translate: bool
    before: tuple[int, ...]
    temperatures: Sequence[float]
    seed: int
    words: bool


def wanted_of(task: pb.Task, hearing: Hearing, tokenizer: Any) -> Wanted:
    """Return what `task` asks of the model; blocks.

    Raises:
        TaskError: BAD_REQUEST for what cannot be done.
    """
    transcribe, vocabulary = task.transcribe, hearing.vocabulary
    temperature = transcribe.temperature
    if not (math.isfinite(temperature) and 0 <= temperature <= 1):
        raise bad(f"`temperature` is {temperature:g}", "send 0 to 1; with 0, others are tried too")
    if len(transcribe.prompt) > MAX_PROMPT:
        raise bad(
            f"`prompt` has {len(transcribe.prompt)} characters",
            f"send at most {MAX_PROMPT}; the model reads the last {hearing.positions // 2} tokens",
        )
    if transcribe.translate and not vocabulary.languages:
        raise TaskError(
            pb.UNSUPPORTED,
            f"{task.model} knows English only and cannot translate",
            "choose a multilingual Whisper",
        )
    language = transcribe.language
    return Wanted(
        language=vocabulary.language(language, task.model) if language.strip() else "",
        translate=transcribe.translate,
        before=tuple(_tokens_before(transcribe.prompt, hearing, tokenizer)),
        temperatures=(temperature,) if temperature >= COLDEST else LADDER,
        seed=transcribe.seed,
        words=transcribe.words,
    )


def _tokens_before(prompt: str, hearing: Hearing, tokenizer: Any) -> list[int]:
    """Return the tokens of `prompt` that come before the window's own."""
    text = prompt.strip()
    if not text:
        return []
    tokens: list[int] = tokenizer(f" {text}", add_special_tokens=False).input_ids
    room = hearing.positions // 2 - 1
    end = hearing.vocabulary.end
    return [hearing.vocabulary.before, *[token for token in tokens if token < end][-room:]]
