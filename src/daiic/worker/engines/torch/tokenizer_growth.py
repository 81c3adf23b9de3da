"""How much longer a tokenizer may make a text: its file is the model's author's.

tokenizer.json may name replacements, one after the other; three that put a
thousand letters in place of one make a billion of it, which takes all memory.
"""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from daiic.bounded_file import read_bounded
from daiic.worker.limits import LIMITS
from daiic.worker.models.model_json import bad_file

MAX_TOKENIZER = LIMITS.vocabulary
"""Bytes; the largest published has 35 MB."""
MAX_GROWTH = LIMITS.tokenizer_growth
"""Times its bytes. Real ones put 3 bytes in place of a space; Unicode's own forms have up to 11."""
MAX_STEPS = 64
"""That a text goes through; the most there are is a handful."""
MAX_ADDED = 256
"""Bytes that a step may put before a text."""


class _Steps(msgspec.Struct):
    """What of tokenizer.json changes texts; the vocabulary is passed over."""

    normalizer: Any = None
    pre_tokenizer: Any = None
    decoder: Any = None


def check_growth(path: Path) -> None:
    """Refuse the tokenizer of the model in `path` if it makes texts too long.

    Raises:
        TaskError: BAD_REQUEST then, and if tokenizer.json cannot be read.
    """
    file = path / "tokenizer.json"
    try:
        steps = msgspec.json.decode(read_bounded(file, MAX_TOKENIZER), type=_Steps)
        for part in (steps.normalizer, steps.pre_tokenizer, steps.decoder):
            growth = 1
            for number, step in enumerate(_steps(part)):
                growth *= _growth(step)
                if growth > MAX_GROWTH or number >= MAX_STEPS:
                    raise bad_file(file, "makes texts too long")
    except FileNotFoundError:
        return  # another file has the vocabulary; its steps are the library's own
    except OSError as error:
        raise bad_file(file, f"cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, binascii.Error, RecursionError):
        raise bad_file(file, "is not a tokenizer's") from None


def _steps(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in the JSON `value` that are steps, wherever they are."""
    if isinstance(value, dict):
        if "type" in value:
            yield value
        for item in value.values():
            yield from _steps(item)
    elif isinstance(value, list):
        for item in value:
            yield from _steps(item)


def _growth(step: dict[str, Any]) -> int:
    """Return how many times longer `step` may make a text, at most and rounded up."""
    if step["type"] == "Replace":
        pattern, content = step.get("pattern"), step.get("content")
        # Regular expressions may find an empty text, and so something at each character.
        found = pattern.get("String") if isinstance(pattern, dict) else None
        length = _length(content)
        return -(-length // _length(found)) if found else length + 1
    if step["type"] == "Prepend" and _length(step.get("prepend")) > MAX_ADDED:
        return MAX_GROWTH + 1
    if step["type"] == "Precompiled":
        # 4 bytes length, a trie, then what characters become, each with a null byte at its end
        # (github.com/google/sentencepiece, normalizer.cc).
        table = base64.b64decode(str(step.get("precompiled_charsmap") or ""))
        start = 4 + int.from_bytes(table[:4], "little")
        return max(1, *map(len, table[start:].split(b"\0")))
    return 1


def _length(text: object) -> int:
    return max(1, len(str(text).encode("utf-8", "replace")))
