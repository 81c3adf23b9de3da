"""The bodies that clients send, as OpenAI defines them, and what of them this cluster can honour.

Fields that are not here are ignored, as OpenAI's own servers ignore hints they
do not know. Fields that would change the answer and that workers cannot
honour are here so that they can be refused by name.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from daiic.gateway.bounds import CHOICES, ERROR_TEXT, INPUTS, MESSAGES, PROMPTS
from daiic.gateway.errors import ApiError, unsupported
from daiic.shown import shown

ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = StopText | Annotated[list[StopText], Meta(max_length=16)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Anything = Any

Body = TypeVar("Body")


class StreamOptions(msgspec.Struct, frozen=True):
    """`include_usage` asks for one more event, with the number of tokens."""

    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """Only `text` is served: workers do not constrain what a model writes."""

    type: Literal["text", "json_object", "json_schema"]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and plain completions have in common."""

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
        """Tokens to generate at most; 0 leaves it to the worker."""
        return self.max_tokens or 0

    @property
    def stops(self) -> list[str]:
        """The texts at which generation ends."""
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
                raise unsupported(name, "workers apply no penalties; leave it out or send 0")
        if self.logit_bias:
            raise unsupported("logit_bias", "workers take no bias; leave it out")
        if self.stream_options and not self.stream:
            raise ApiError(
                400,
                "stream_options: only for streams; send stream: true with it",
                param="stream_options",
            )


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
            raise unsupported(where, "workers run no tools; send what they said as a user message")
        if isinstance(self.content, str):
            return self.content
        if self.content is None:
            if self.role != "assistant":
                raise ApiError(400, f"{where}.content: is missing", param=f"{where}.content")
            return ""
        for index, part in enumerate(self.content):
            if part.type != "text":
                raise unsupported(
                    f"{where}.content[{index}].type",
                    f'"{shown(part.type)}" cannot be read by the models here; send text parts only',
                )
        return "".join(part.text or "" for part in self.content)


class ChatRequest(Sampling, frozen=True, kw_only=True):
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
            raise unsupported(
                "response_format",
                "workers do not constrain what a model writes, so JSON cannot be promised; "
                "ask for JSON in the prompt and check the answer",
            )
        if self.logprobs or self.top_logprobs:
            name = "logprobs" if self.logprobs else "top_logprobs"
            raise unsupported(name, "workers report no probabilities; leave it out")
        for name in ("tools", "functions"):
            if getattr(self, name):
                raise unsupported(name, "the models here are called without tools; leave it out")
        if any(modality != "text" for modality in self.modalities or ()):
            raise unsupported("modalities", 'only "text" can be answered')


class CompletionRequest(Sampling, frozen=True, kw_only=True):
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
            raise unsupported("echo", "put the prompt before the answer yourself")
        if self.suffix:
            raise unsupported("suffix", "the models here do not fill gaps; leave it out")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise unsupported("best_of", "every answer is returned; send n instead")
        if self.logprobs:
            raise unsupported("logprobs", "workers report no probabilities; leave it out")


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/images/generations; the last four fields are not OpenAI's."""

    prompt: Annotated[str, Meta(min_length=1, max_length=32000)]
    model: ModelName | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: Annotated[str, Meta(pattern=r"^(auto|[0-9]{1,4}x[0-9]{1,4})$")] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    stream: bool | None = None
    seed: Seed | None = None
    negative_prompt: Annotated[str, Meta(max_length=32000)] | None = None
    steps: Annotated[int, Meta(ge=1, le=500)] | None = None
    guidance: Annotated[float, Meta(ge=0, le=50)] | None = None

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height; 0 and 0 leave it to the model."""
        if self.size in (None, "auto"):
            return 0, 0
        width, _, height = str(self.size).partition("x")
        return int(width), int(height)

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if self.output_format not in (None, "png"):
            raise unsupported("output_format", "images are PNG; leave it out")
        width, height = self.pixels
        if self.size not in (None, "auto") and not (
            64 <= width <= 4096 and 64 <= height <= 4096 and width % 8 == height % 8 == 0
        ):
            raise ApiError(
                400,
                f"size: {self.size} cannot be painted; both sides must be multiples of 8 "
                "from 64 to 4096",
                param="size",
            )


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/embeddings."""

    model: ModelName
    input: str | Annotated[list[str], Meta(min_length=1, max_length=INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None

    @property
    def inputs(self) -> list[str]:
        """The texts to embed."""
        return [self.input] if isinstance(self.input, str) else self.input

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if self.dimensions is not None:
            raise unsupported("dimensions", "vectors have the model's own length; leave it out")
        if not all(self.inputs):
            raise ApiError(400, "input: an empty text has no embedding", param="input")


def decode(data: bytes | bytearray, kind: type[Body]) -> Body:
    """Return the request in `data`.

    Raises:
        ApiError: 400, with the field at fault as `param`.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise ApiError(
            400, "the body is nested too deeply: send flat lists", code="invalid_json"
        ) from None
    except msgspec.ValidationError as error:
        what, _, path = str(error).rpartition(" - at `$")
        if not what:
            what, path = path, ""
        # An unknown word is quoted as it came.
        what = shown(what, ERROR_TEXT)
        param = path.rstrip("`").lstrip(".")
        if "missing required field" in what:
            field = what.split("`")[1]
            param = f"{param}.{field}" if param else field
            what = "is missing"
        raise ApiError(400, f"{param}: {what}" if param else what, param=param or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
