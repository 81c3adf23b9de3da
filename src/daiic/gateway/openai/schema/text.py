"""What chat and plain completions have in common."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError
from daiic.gateway.limits import CHOICES
from daiic.gateway.openai.schema.constraint import Constrained
from daiic.gateway.openai.schema.fields import Count
from daiic.wire import daiic_pb2 as pb

FinishReason = Literal["stop", "length", "tool_calls"]


class StreamOptions(msgspec.Struct, frozen=True):
    """`include_usage` asks for a last event with the number of tokens."""

    include_usage: bool | None = None


class TextRequest(Constrained, frozen=True, kw_only=True):
    """What requests for chat and plain completions have in common."""

    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=CHOICES)] | None = None
    max_tokens: Count | None = None

    @property
    def limit(self) -> int:
        return self.max_tokens or 0

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        super().check()
        if self.stream_options and not self.stream:
            raise ApiError(
                400,
                "stream_options: it applies to streams only; send stream: true with it",
                param="stream_options",
            )


class PromptTokens(msgspec.Struct, frozen=True):
    """Of the prompt's tokens, those that the worker had computed before."""

    cached_tokens: int


class CompletionTokens(msgspec.Struct, frozen=True):
    """Of the answer's tokens, those that went into reasoning."""

    reasoning_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Tokens of the prompt, of the answer, and of both."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens
    completion_tokens_details: CompletionTokens

    @classmethod
    def of(cls, usage: pb.Usage) -> "Usage":
        """Return what `usage` says."""
        return cls(
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_tokens + usage.completion_tokens,
            PromptTokens(usage.cached_tokens),
            CompletionTokens(usage.reasoning_tokens),
        )


_REASONS: dict[int, FinishReason] = {
    pb.FINISH_REASON_LENGTH: "length",
    pb.FINISH_REASON_TOOL_CALLS: "tool_calls",
}


def finish_reason(result: pb.Result) -> FinishReason:
    """Return why generation stopped."""
    return _REASONS.get(result.finish_reason, "stop")
