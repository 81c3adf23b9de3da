"""The tokens of a Whisper that stand for no text: tasks, languages, times.

They are told by their names in the tokenizer, which all Whispers share
(Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

TIMES_PER_SECOND = 50
SHOWN = 12
"""Languages that an error names."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Numbers of tokens.

    Text has those below `end`, which ends a window; times are `first_time` and the `times` after
    it, TIMES_PER_SECOND of a window. `languages` is empty for a model of English alone. `never` are
    those that are not to be chosen, `never_first` in a window's first place. A window begins at
    most `latest_start` times after its recording goes on, `None` for any.
    """

    end: int
    start: int
    before: int
    no_speech: int
    no_times: int
    transcribe: int
    translate: int
    languages: Mapping[str, int]
    times: int
    never: tuple[int, ...]
    never_first: tuple[int, ...]
    latest_start: int | None

    @property
    def first_time(self) -> int:
        """The token of the time 0."""
        return self.no_times + 1

    def is_time(self, token: int) -> bool:
        """Whether `token` stands for a time."""
        return token >= self.first_time

    def seconds(self, token: int) -> float:
        """Return the time in the window that `token` stands for."""
        return (token - self.first_time) / TIMES_PER_SECOND

    def opening(self, language: str, *, translate: bool) -> list[int]:
        """Return what a window's tokens begin with."""
        if not self.languages:
            return [self.start]
        task = self.translate if translate else self.transcribe
        return [self.start, self.languages[language], task]

    def language(self, wanted: str, model: str) -> str:
        """Return the code of the language `wanted`, by its code or English name.

        Raises:
            TaskError: BAD_REQUEST if the `model` does not know it.
        """
        name = wanted.strip().lower().replace("_", "-")
        code = str(TO_LANGUAGE_CODE.get(name, name.partition("-")[0]))
        known = self.languages or {"en": 0}
        if code not in known:
            some = ", ".join(sorted(known)[:SHOWN]) + (" …" if len(known) > SHOWN else "")
            raise TaskError(
                pb.BAD_REQUEST,
                f"{model} does not know the language {wanted[:20]!r}",
                f"send its ISO 639-1 code, one of {some}; or leave it out, and it is found out",
            )
        return code


def vocabulary_of(tokenizer: Any, config: Any, size: int, times: int) -> Vocabulary:
    """Return the tokens of the model with `tokenizer` and the generation_config `config`.

    It has logits for `size` tokens and `times` places in a window.

    Raises:
        ValueError: if a token is missing, or is not where all Whispers have it.
    """
    numbers: Mapping[str, int] = tokenizer.get_vocab()

    def number(*names: str) -> int:
        for name in names:
            if name in numbers:
                return numbers[name]
        raise ValueError(f"its tokenizer has no {names[0]}")

    end = number("<|endoftext|>")
    no_times = number("<|notimestamps|>")
    known = {code: numbers[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in numbers}
    if getattr(config, "is_multilingual", len(known) > 1) is False:
        known = {}
    marks = {
        "start": number("<|startoftranscript|>"),
        "before": number("<|startofprev|>"),
        "no_speech": number("<|nospeech|>", "<|nocaptions|>"),
        "transcribe": number("<|transcribe|>"),
        "translate": number("<|translate|>"),
    }
    others = [*marks.values(), *known.values()]
    if not all(end < other < no_times for other in others) or no_times + 1 + times >= size:
        raise ValueError("its tokens are not in Whisper's order")
    never = {*_numbers(config, "suppress_tokens", size), *others}
    latest = getattr(config, "max_initial_timestamp_index", None)
    return Vocabulary(
        end=end,
        no_times=no_times,
        languages=known,
        times=times,
        never=tuple(sorted(never - {end})),
        never_first=tuple(_numbers(config, "begin_suppress_tokens", size)),
        latest_start=latest if isinstance(latest, int) and latest >= 0 else None,
        **marks,
    )


def _numbers(config: Any, name: str, size: int) -> Sequence[int]:
    listed = getattr(config, name, None)
    if not isinstance(listed, list | tuple):
        return []
    return [token for token in listed if isinstance(token, int) and 0 <= token < size]
