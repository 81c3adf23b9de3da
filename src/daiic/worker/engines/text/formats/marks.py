"""Finding marks in a text that comes in pieces."""

from collections.abc import Iterable


def first_of(marks: Iterable[str], text: str) -> tuple[int, str] | None:
    """Return where in `text` the first of `marks` begins, and which it is."""
    found = [(start, mark) for mark in marks if (start := text.find(mark)) >= 0]
    return min(found, default=None)


def begun(marks: Iterable[str], text: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of one of `marks`."""
    return max((_begun(mark, text) for mark in marks), default=0)


def _begun(mark: str, text: str) -> int:
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
