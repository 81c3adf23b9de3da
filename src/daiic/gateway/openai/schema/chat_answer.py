"""POST /v1/chat/completions: the response, and the events of its stream."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from daiic.gateway.openai.schema.logprobs import Logprobs
from daiic.gateway.openai.schema.text import FinishReason, Usage
from daiic.gateway.openai.schema.tools import ToolCall, ToolCallDelta


class ChatMessage(msgspec.Struct, frozen=True):
    """The model's message; `content` is null if it has only called tools."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One answer to the conversation."""

    index: int
    message: ChatMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """The response of /v1/chat/completions."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    object: Literal["chat.completion"] = "chat.completion"


class ChatDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event adds to the message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(msgspec.Struct, frozen=True):
    """What an event adds to one answer."""

    index: int
    delta: ChatDelta
    finish_reason: FinishReason | None = None
    logprobs: Logprobs | None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """One event of a streamed chat completion."""

    id: str
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
