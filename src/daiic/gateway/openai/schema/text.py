"""What chat and plain completions have in common."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError
from daiic.gateway.limits import CHOICES, LOGIT_BIASES
from daiic.gateway.openai.schema.constraint import Constrained
from daiic.gateway.openai.schema.fields import Count, ModelName, Seed
from daiic.wire import daiic_pb2 as pb

StopText = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = StopText | Annotated[list[StopText], Meta(max_length=16)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
FinishReason = Literal["stop", "length", "tool_calls"]


class StreamOptions(msgspec.Struct, frozen=True):
    """`include_usage` asks for a last event with the number of tokens."""

    include_usage: bool | None = None


class TextRequest(Constrained, frozen=True, kw_only=True):
    """What requests for chat and plain completions have in common.

    `top_k`, `min_p` and `repetition_penalty` are not OpenAI's; vLLM and llama.cpp call them so.
    """

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=CHOICES)] | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=10)] | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=LOGIT_BIASES)] | None = None

    @property
    def limit(self) -> int:
        """How many tokens to generate at most; 0 leaves it to the worker."""
        return self.max_tokens or 0

    @property
    def stops(self) -> list[str]:
        """The texts at which generation stops."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def likeliest(self) -> int | None:
        """How many of the likeliest tokens to tell beside each one made; `None`: tell nothing."""
        return None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        for token in self.logit_bias or ():
            if not (token.isascii() and token.isdecimal() and int(token[:12]) < 2**32):
                raise ApiError(
                    400, "logit_bias: its keys are numbers of tokens", param="logit_bias"
                )
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
