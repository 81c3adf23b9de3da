"""POST /v1/completions."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.limits import CHOICES, PROMPTS
from daiic.gateway.openai.schema.fields import TokenId
from daiic.gateway.openai.schema.sampling import TopLogprobs
from daiic.gateway.openai.schema.text import FinishReason, TextRequest, Usage

Tokens = Annotated[list[TokenId], Meta(min_length=1)]


class CompletionRequest(TextRequest, frozen=True, kw_only=True):
    """POST /v1/completions; a prompt is a text or the numbers of its tokens."""

    prompt: str | Annotated[list[str | TokenId | Tokens], Meta(min_length=1)]
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=CHOICES)] | None = None
    logprobs: TopLogprobs | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each of which gets `n` answers; as texts or as tokens."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        tokens = [one for one in self.prompt if isinstance(one, int)]
        if not tokens:
            return [one for one in self.prompt if not isinstance(one, int)]
        if len(tokens) != len(self.prompt):
            raise ApiError(
                400,
                "prompt: it is a list of texts, of tokens, or of lists of tokens",
                param="prompt",
            )
        return [tokens]

    @property
    def likeliest(self) -> int | None:
        return self.logprobs

    def check(self) -> None:
        super().check()
        if len(self.prompts) > PROMPTS:
            raise ApiError(
                400,
                f"prompt: {len(self.prompts)} prompts are more than {PROMPTS}",
                param="prompt",
            )
        if self.echo:
            raise unsupported_parameter(
                "echo", "leave it out, and put the prompt before the answer yourself"
            )
        if self.suffix:
            raise unsupported_parameter(
                "suffix", "workers do not fill in the middle of a text; leave it out"
            )
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise unsupported_parameter("best_of", "every answer is returned; send n instead")


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """How likely the tokens of an answer were; `text_offset` is where each begins in it."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(msgspec.Struct, frozen=True):
    """One answer to a prompt, or what an event adds to it."""

    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: CompletionLogprobs | None = None


class Completion(msgspec.Struct, frozen=True):
    """The response of /v1/completions, or one event of its stream."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    object: Literal["text_completion"] = "text_completion"
