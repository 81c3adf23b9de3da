"""The pieces that a message has in a request."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.limits import MESSAGES


class Source(msgspec.Struct, frozen=True):
    """Where an image or a document is: in `data` as base64 or text, or at a `url`."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class ResultBlock(msgspec.Struct, frozen=True):
    """A piece of what a tool gave: a `text` or an `image`."""

    type: str
    text: str | None = None
    source: Source | None = None


Results = str | Annotated[list[ResultBlock], Meta(max_length=MESSAGES)]


class Block(msgspec.Struct, frozen=True):
    """A piece of a message; what it has besides depends on its `type`.

    "text", "image", "document" (text only), "thinking" and "redacted_thinking", "tool_use" of an
    assistant, and "tool_result" of a user.
    """

    type: str
    text: str | None = None
    source: Source | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: Results | None = None
    is_error: bool | None = None


class MessageParam(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str | Annotated[list[Block], Meta(max_length=MESSAGES)]


class SystemBlock(msgspec.Struct, frozen=True):
    """A piece of the system prompt."""

    type: Literal["text"]
    text: str
