"""The conversation in a chat request."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.limits import MESSAGES, TOOLS
from daiic.gateway.openai.schema.tools import CallId, SentToolCall


class ImageUrl(msgspec.Struct, frozen=True):
    """Where an image is: a data URL, or an http URL of a host that the gateway may fetch from."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputAudio(msgspec.Struct, frozen=True):
    """A recording in base64, and what it is, such as "wav"."""

    data: str
    format: str


class ContentPart(msgspec.Struct, frozen=True):
    """A part of a message.

    `type` is "text", "image_url" or "input_audio", or "refusal" of an assistant.
    """

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; `reasoning_content` is what the assistant thought before."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[ContentPart], Meta(max_length=MESSAGES)] | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[SentToolCall], Meta(max_length=TOOLS)] | None = None
    tool_call_id: CallId | None = None
