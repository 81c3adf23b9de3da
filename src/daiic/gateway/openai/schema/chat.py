"""POST /v1/chat/completions."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.limits import MESSAGES
from daiic.gateway.openai.schema.fields import Count
from daiic.gateway.openai.schema.text import FinishReason, TextRequest, Usage
from daiic.shown import shown

Anything = Any


class ResponseFormat(msgspec.Struct, frozen=True):
    """Only `text` is supported: workers do not constrain what a model writes."""

    type: Literal["text", "json_object", "json_schema"]


class TextPart(msgspec.Struct, frozen=True):
    """A part of a message; `type` is "text"."""

    type: str
    text: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    tool_calls: list[Anything] | None = None

    def text(self, where: str) -> str:
        """Return what the message says; `where` names it in errors.

        Raises:
            ApiError: if it is not text alone.
        """
        if self.role in ("tool", "function") or self.tool_calls:
            raise unsupported_parameter(
                where, "workers do not use tools; send what a tool returned as a user message"
            )
        if isinstance(self.content, str):
            return self.content
        if self.content is None:
            if self.role != "assistant":
                raise ApiError(400, f"{where}.content: is missing", param=f"{where}.content")
            return ""
        for index, part in enumerate(self.content):
            if part.type != "text":
                raise unsupported_parameter(
                    f"{where}.content[{index}].type",
                    f'"{shown(part.type)}" is not supported; send text parts only',
                )
        return "".join(part.text or "" for part in self.content)


class ChatRequest(TextRequest, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MESSAGES)]
    max_completion_tokens: Count | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Anything] | None = None
    functions: list[Anything] | None = None
    modalities: list[str] | None = None

    @property
    def limit(self) -> int:
        return self.max_completion_tokens or self.max_tokens or 0

    def check(self) -> None:
        super().check()
        if self.response_format and self.response_format.type != "text":
            raise unsupported_parameter(
                "response_format",
                "workers do not constrain what a model writes, so they cannot guarantee JSON; "
                "ask for JSON in the prompt, and check the answer",
            )
        if self.logprobs or self.top_logprobs:
            name = "logprobs" if self.logprobs else "top_logprobs"
            raise unsupported_parameter(name, "workers do not report probabilities; leave it out")
        for name in ("tools", "functions"):
            if getattr(self, name):
                raise unsupported_parameter(name, "workers do not use tools; leave it out")
        if any(modality != "text" for modality in self.modalities or ()):
            raise unsupported_parameter("modalities", 'answers are "text" only')


class ChatMessage(msgspec.Struct, frozen=True):
    """The model's message."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One answer to the conversation."""

    index: int
    message: ChatMessage
    finish_reason: FinishReason
    logprobs: None = None


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


class ChatChunkChoice(msgspec.Struct, frozen=True):
    """What an event adds to one answer."""

    index: int
    delta: ChatDelta
    finish_reason: FinishReason | None = None
    logprobs: None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """One event of a streamed chat completion."""

    id: str
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
