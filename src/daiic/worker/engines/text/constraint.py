"""What an answer must be, checked before an engine sees it."""

import json
import re
from typing import Any

from daiic.json_depth import depth_of
from daiic.worker.engines.text.checks import bad
from daiic.worker.limits import LIMITS

MAX_CHARACTERS = LIMITS.constraint
MAX_DEPTH = LIMITS.constraint_depth


def check_length(text: str, name: str) -> None:
    """Refuse the value `text` of `name` if it is too long.

    Raises:
        TaskError: BAD_REQUEST if it is.
    """
    if len(text) > MAX_CHARACTERS:
        raise bad(
            f"`{name}` has {len(text)} characters", f"send at most {MAX_CHARACTERS} characters"
        )


def schema_in(text: str, name: str) -> Any:
    """Return the JSON Schema in `text`, the value of `name`.

    Raises:
        TaskError: BAD_REQUEST if it is none, or is nested too deeply to be converted.
    """
    check_length(text, name)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise bad(f"`{name}` is not valid JSON", "send a JSON Schema") from None
    if not isinstance(schema, dict):
        raise bad(f"`{name}` is not a JSON object", "send a JSON Schema")
    if depth_of(schema) > MAX_DEPTH:
        raise bad(f"`{name}` is nested too deeply", f"use at most {MAX_DEPTH} levels")
    return schema


def without_anchors(regex: str) -> str:
    """Return `regex` without the marks of beginning and end: it matches whole texts anyway."""
    regex = regex.removeprefix("^")
    if regex.endswith("$") and not re.search(r"(?<!\\)(?:\\\\)*\\\$$", regex):
        regex = regex[:-1]
    return regex
