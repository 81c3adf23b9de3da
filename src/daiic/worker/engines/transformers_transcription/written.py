"""What an earlier run wrote down of a recording, read from its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from daiic.worker.engines.transformers_transcription.passages import length
from daiic.worker.engines.transformers_transcription.vocabulary import Vocabulary
from daiic.worker.media.recordings import RATE


@dataclass(slots=True)
class Written:
    """Windows that are done: each one's tokens, and where it began; and the part of another.

    `place` is where that one begins, in samples.
    """

    windows: list[tuple[int, list[int]]]
    part: list[int]
    place: int


def written(tokens: Sequence[int], vocabulary: Vocabulary, window: int, samples: int) -> Written:
    """Return what `tokens` say, of a recording of so many `samples`, heard by the `window`.

    Each window's tokens end with the one that ends a text.
    """
    found = Written([], [], 0)
    for token in tokens:
        if token != vocabulary.end:
            found.part.append(token)
            continue
        found.windows.append((found.place, found.part))
        found.place += step(found.part, vocabulary, min(window, samples - found.place))
        found.part = []
    return found


def step(tokens: Sequence[int], vocabulary: Vocabulary, count: int) -> int:
    """Return after how many of a window's `count` samples, written as `tokens`, the next begins."""
    return max(round(length(tokens, vocabulary, count / RATE) * RATE), 1) if count > 0 else 1
