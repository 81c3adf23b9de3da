"""What chat and plain completions have in common."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.limits import CHOICES
from daiic.gateway.openai.schema.fields import Count, ModelName, Seed
from daiic.wire import daiic_pb2 as pb

StopText = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = StopText | Annotated[list[StopText], Meta(max_length=16)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
FinishReason = Literal["stop", "length"]


class StreamOptions(msgspec.Struct, frozen=True):
    """`include_usage` asks for a last event with the number of tokens."""

    include_usage: bool | None = None


class TextRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What requests for chat and plain completions have in common."""

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=CHOICES)] | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None

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
    def wants_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        for name in ("presence_penalty", "frequency_penalty"):
            if getattr(self, name):
                raise unsupported_parameter(
                    name, "workers do not apply penalties; leave it out or send 0"
                )
        if self.logit_bias:
            raise unsupported_parameter("logit_bias", "workers do not bias tokens; leave it out")
        if self.stream_options and not self.stream:
            raise ApiError(
                400,
                "stream_options: it applies to streams only; send stream: true with it",
                param="stream_options",
            )


class Usage(msgspec.Struct, frozen=True):
    """Tokens of the prompt, of the answer, and of both."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


def finish_reason(result: pb.Result) -> FinishReason:
    """Return why generation stopped."""
    return "length" if result.finish_reason == pb.FINISH_REASON_LENGTH else "stop"


def usage(results: list[pb.Result], choices_per_prompt: int) -> Usage:
    """Return the tokens of all answers; a prompt counts once, however many answers it got."""
    read = sum(result.usage.prompt_tokens for result in results[::choices_per_prompt])
    written = sum(result.usage.completion_tokens for result in results)
    return Usage(read, written, read + written)
