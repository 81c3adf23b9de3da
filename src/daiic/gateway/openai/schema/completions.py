"""POST /v1/completions."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import unsupported_parameter
from daiic.gateway.limits import CHOICES, PROMPTS
from daiic.gateway.openai.schema.text import FinishReason, TextRequest, Usage


class CompletionRequest(TextRequest, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=PROMPTS)]
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=CHOICES)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None

    @property
    def prompts(self) -> list[str]:
        """The prompts, each of which gets `n` answers."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def check(self) -> None:
        super().check()
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
        if self.logprobs:
            raise unsupported_parameter(
                "logprobs", "workers do not report probabilities; leave it out"
            )


class CompletionChoice(msgspec.Struct, frozen=True):
    """One answer to a prompt, or what an event adds to it."""

    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: None = None


class Completion(msgspec.Struct, frozen=True):
    """The response of /v1/completions, or one event of its stream."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    object: Literal["text_completion"] = "text_completion"
