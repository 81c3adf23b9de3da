"""JSON as models write calls in it."""

import json
from collections.abc import Sequence
from typing import Any

from daiic.worker.engines.text.formats.events import Call, Tools

_NAMES = ("name", "function", "tool_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input")


def parsed(text: str) -> Any:
    """Return the value that `text` is the JSON of; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def object_text(value: Any) -> str | None:
    """Return `value`, an object or the JSON of one, as JSON; None if it is neither."""
    if isinstance(value, str):
        value = parsed(value) if value.strip() else {}
    if not isinstance(value, dict):
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # a half of a surrogate pair
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return text


def call_in(value: Any) -> Call | None:
    """Return the call that `value` is: an object with a name and arguments."""
    if not isinstance(value, dict):
        return None
    inside = value.get("function")
    if isinstance(inside, dict):
        value = inside
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    if name is None:
        return None
    given: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    arguments = object_text({} if given is None else given)
    return None if arguments is None else Call(name, arguments)


def calls_in(text: str, tools: Tools) -> Sequence[Call]:
    """Return the calls in `text`, an object or a list of them; none if any is something else."""
    value = parsed(text.strip())
    values = value if isinstance(value, list) else [value]
    calls = [call_in(one) for one in values]
    return [call for call in calls if call is not None] if all(calls) else []
