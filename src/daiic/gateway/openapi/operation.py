"""What an API declares of itself, so that it can be described."""

from dataclasses import dataclass
from typing import Any, Literal

JSON = "application/json"
FORM = "multipart/form-data"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"


@dataclass(frozen=True)
class Parameter:
    """A part of a path or of its query; `schema` is a JSON Schema."""

    place: Literal["path", "query"]
    name: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Stream:
    """An answer in parts, each of one of these types, or an error of the API.

    `has_end_mark` says that the event [DONE] ends it.
    """

    parts: tuple[type, ...]
    media_type: str = EVENTS
    has_end_mark: bool = False


@dataclass(frozen=True)
class Operation:
    """A method of a path.

    An answer as JSON is of one of the types in `answers`; `other_answers` are the media types of
    those that are no JSON.
    """

    method: Literal["get", "post", "delete"]
    path: str
    summary: str
    body: type | None = None
    body_type: str = JSON
    answers: tuple[type, ...] = ()
    other_answers: tuple[str, ...] = ()
    stream: Stream | None = None
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class Api:
    """Operations whose errors have one shape.

    `prefix` begins the names of its types, of which other APIs may have some of the same names.
    """

    prefix: str
    error: type
    operations: tuple[Operation, ...]


def path_parameter(name: str) -> Parameter:
    """Return the parameter that `{name}` in a path stands for."""
    return Parameter("path", name, {"type": "string", "minLength": 1})
