"""Dividing a text into what is said at once. Every worker must divide it alike."""

import re
from collections.abc import Iterator

from daiic.worker.limits import LIMITS

MOST = LIMITS.sentence
"""Characters of a sentence; longer ones are divided where there is a pause, or between words."""

_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|[\r\n]+")
_PAUSE = re.compile(r"(?<=[,;:–—])\s+|(?<=[、，；：])")


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`, in order, none empty."""
    return [
        piece
        for sentence in _END.split(text)
        if sentence.strip()
        for piece in _divided(sentence.strip())
    ]


def _divided(sentence: str) -> Iterator[str]:
    if len(sentence) <= MOST:
        yield sentence
        return
    piece = ""
    for part in _words(sentence):
        if piece and len(piece) + 1 + len(part) > MOST:
            yield piece
            piece = ""
        piece = f"{piece} {part}" if piece else part
    yield piece


def _words(sentence: str) -> Iterator[str]:
    """Yield parts of at most MOST characters, divided at pauses, between words, or within one."""
    for part in _PAUSE.split(sentence):
        if len(part) <= MOST:
            yield part
            continue
        for word in part.split():
            for start in range(0, len(word), MOST):
                yield word[start : start + MOST]
