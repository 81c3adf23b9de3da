"""The conversation in a chat request."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.limits import MESSAGES, TOOLS
from daiic.gateway.openai.schema.tools import CallId, SentToolCall


class ContentPart(msgspec.Struct, frozen=True):
    """A part of a message; `type` is "text", or "refusal" of an assistant."""

    type: str
    text: str | None = None
    refusal: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; `reasoning_content` is what the assistant thought before."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[ContentPart], Meta(max_length=MESSAGES)] | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[SentToolCall], Meta(max_length=TOOLS)] | None = None
    tool_call_id: CallId | None = None
