"""The requests."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import unsupported_parameter
from daiic.gateway.limits import INPUTS, MESSAGES, TOOLS
from daiic.gateway.openai.schema.fields import Count, Effort, ModelName, Seed
from daiic.gateway.openai.schema.sampling import (
    Penalty,
    Probability,
    RepetitionPenalty,
    Stops,
    TopK,
    TopLogprobs,
)
from daiic.gateway.openai.schema.tools import ToolName


class Options(msgspec.Struct, frozen=True):
    """How tokens are chosen; what else Ollama takes here, to load a model, is up to workers."""

    num_predict: int | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_k: TopK | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    repeat_penalty: RepetitionPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that names a model; `name` is the old form of `model`."""

    model: ModelName

    def check(self) -> None:
        """Refuse what cannot be honoured.

        Raises:
            ApiError: naming the parameter.
        """


class TextRequest(ModelRequest, frozen=True, kw_only=True):
    """What requests for texts have in common. Streams are the default.

    `format` is "json" or a JSON Schema. `think` is false to hide what a model thinks, or how hard
    it should. Models stay loaded as workers see fit, whatever `keep_alive` says.
    """

    stream: bool | None = None
    options: Options | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    think: bool | Effort | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the answer comes in parts."""
        return self.stream is not False


class CalledFunction(msgspec.Struct, frozen=True):
    """What was called."""

    name: ToolName
    arguments: dict[str, Any] = {}


class ToolCall(msgspec.Struct, frozen=True):
    """A call in the history."""

    function: CalledFunction


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; `tool_name` says what a message of "tool" is the result of."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Annotated[list[str], Meta(max_length=MESSAGES)] | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=TOOLS)] | None = None
    tool_name: str | None = None


class Function(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct, frozen=True):
    """Something that the model may use."""

    function: Function
    type: Literal["function"] = "function"


class ChatRequest(TextRequest, frozen=True, kw_only=True):
    """POST /api/chat; without messages, the model is loaded."""

    messages: Annotated[list[Message], Meta(max_length=MESSAGES)] = []
    tools: Annotated[list[Tool], Meta(max_length=TOOLS)] | None = None


class GenerateRequest(TextRequest, frozen=True, kw_only=True):
    """POST /api/generate: one turn, or a `raw` text to continue; without a prompt, a load."""

    prompt: str = ""
    system: str | None = None
    images: Annotated[list[str], Meta(max_length=MESSAGES)] | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None

    def check(self) -> None:
        for name, remedy in (
            ("suffix", "no worker fills gaps; leave it out"),
            ("template", "models have templates of their own; send raw: true for a text as it is"),
            ("context", "send the conversation to /api/chat instead"),
        ):
            if getattr(self, name):
                raise unsupported_parameter(name, remedy)


class EmbedRequest(ModelRequest, frozen=True, kw_only=True):
    """POST /api/embed."""

    input: str | Annotated[list[str], Meta(max_length=INPUTS)]
    dimensions: Count | None = None


class OldEmbedRequest(ModelRequest, frozen=True, kw_only=True):
    """POST /api/embeddings, which came before /api/embed."""

    prompt: str


class PullRequest(ModelRequest, frozen=True, kw_only=True):
    """POST /api/pull: a model of Hugging Face is downloaded and loaded."""

    stream: bool | None = None


class DeleteRequest(ModelRequest, frozen=True, kw_only=True):
    """DELETE /api/delete: a model that workers have downloaded."""


class ShowRequest(ModelRequest, frozen=True, kw_only=True):
    """POST /api/show."""
