"""Tools in a chat: those that a request offers, and the calls in messages."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.limits import TOOL_NAME, TOOLS

# In Python, `$` alone lets a line feed follow.
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+(?!\n)$", max_length=TOOL_NAME)]
CallId = Annotated[str, Meta(min_length=1)]


class Function(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True):
    """Something that the model may use: a `function`."""

    type: str
    function: Function | None = None


class FunctionName(msgspec.Struct, frozen=True):
    """A function by its name."""

    name: ToolName


class NamedTool(msgspec.Struct, frozen=True):
    """The one tool that the model must use."""

    type: str
    function: FunctionName | None = None


Tools = Annotated[list[Tool], Meta(max_length=TOOLS)]
ToolChoice = Literal["none", "auto", "required"] | NamedTool


class CalledFunction(msgspec.Struct, frozen=True):
    """What was called; `arguments` is JSON."""

    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    """A call in an assistant's message."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class SentToolCall(msgspec.Struct, frozen=True):
    """A call in the history that a client sends."""

    id: CallId
    function: CalledFunction | None = None
    type: str = "function"


class FunctionDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event adds to a call: the name comes once, `arguments` in pieces."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event adds to the call `index`; all but the arguments come in its first."""

    index: int
    function: FunctionDelta
    id: str | None = None
    type: Literal["function"] | None = None
