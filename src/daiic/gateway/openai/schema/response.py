"""POST /v1/responses: the response."""

from typing import Any, Literal

import msgspec

from daiic.gateway.openai.schema.response_items import OutputItem
from daiic.gateway.openai.schema.response_request import (
    NamedResponseTool,
    ResponseRequest,
    ResponseTool,
    TextFormat,
)
from daiic.wire import daiic_pb2 as pb

ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class InputTokens(msgspec.Struct, frozen=True):
    """Of the input's tokens, those that the worker had computed before."""

    cached_tokens: int


class OutputTokens(msgspec.Struct, frozen=True):
    """Of the output's tokens, those that went into reasoning."""

    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, frozen=True):
    """Tokens of the input, of the output, and of both."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int

    @classmethod
    def of(cls, usage: pb.Usage) -> "ResponseUsage":
        """Return what `usage` says."""
        return cls(
            usage.prompt_tokens,
            InputTokens(usage.cached_tokens),
            usage.completion_tokens,
            OutputTokens(usage.reasoning_tokens),
            usage.prompt_tokens + usage.completion_tokens,
        )


class ResponseFailure(msgspec.Struct, frozen=True):
    """Why there is no whole answer."""

    code: str
    message: str


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Why the answer ended before its end."""

    reason: Literal["max_output_tokens"]


class TextSettings(msgspec.Struct, frozen=True):
    """What the text of the answer had to be."""

    format: TextFormat = TextFormat("text")


class ReasoningSettings(msgspec.Struct, frozen=True):
    """How much the model should think; there are no summaries."""

    effort: str | None = None
    summary: None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The response of /v1/responses: what was asked, and what the model answers."""

    id: str
    created_at: int
    status: ResponseStatus
    model: str
    output: list[OutputItem]
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[ResponseTool] = []
    tool_choice: Literal["none", "auto", "required"] | NamedResponseTool = "auto"
    parallel_tool_calls: bool = True
    text: TextSettings = TextSettings()
    reasoning: ReasoningSettings = ReasoningSettings()
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int = 0
    store: bool = True
    metadata: dict[str, str] = {}
    truncation: Literal["disabled"] = "disabled"
    background: Literal[False] = False
    object: Literal["response"] = "response"

    @classmethod
    def to(cls, request: ResponseRequest, response_id: str, created_at: int) -> "Response":
        """Return what there is of the response to `request` before the model begins."""
        asked: dict[str, Any] = {
            name: value
            for name in (
                "instructions",
                "previous_response_id",
                "tools",
                "tool_choice",
                "parallel_tool_calls",
                "max_output_tokens",
                "temperature",
                "top_p",
                "top_logprobs",
                "store",
                "metadata",
            )
            if (value := getattr(request, name)) is not None
        }
        if request.text and request.text.format:
            asked["text"] = TextSettings(request.text.format)
        if request.reasoning:
            asked["reasoning"] = ReasoningSettings(request.reasoning.effort)
        return cls(
            id=response_id,
            created_at=created_at,
            status="in_progress",
            model=request.model,
            output=[],
            **asked,
        )


class DeletedResponse(msgspec.Struct, frozen=True):
    """The response of DELETE /v1/responses/<id>."""

    id: str
    deleted: Literal[True] = True
    object: Literal["response"] = "response"
