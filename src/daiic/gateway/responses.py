"""The bodies that clients receive, as OpenAI defines them."""

from typing import Literal

import msgspec

from daiic.wire import daiic_pb2 as pb

FinishReason = Literal["stop", "length"]


class Usage(msgspec.Struct, frozen=True):
    """Tokens read, written and together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class ChatMessage(msgspec.Struct, frozen=True):
    """What the model says."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One of the answers."""

    index: int
    message: ChatMessage
    finish_reason: FinishReason
    logprobs: None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """The answer of /v1/chat/completions."""

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
    """What an event adds to one of the answers."""

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


class CompletionChoice(msgspec.Struct, frozen=True):
    """One of the answers, or what an event adds to it."""

    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: None = None


class Completion(msgspec.Struct, frozen=True):
    """The answer of /v1/completions, or one event of it."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    object: Literal["text_completion"] = "text_completion"


class ImageData(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image, inline or at an address; `seed` paints it again."""

    seed: int
    b64_json: str | None = None
    url: str | None = None


class Images(msgspec.Struct, frozen=True):
    """The answer of /v1/images/generations."""

    created: int
    data: list[ImageData]


class ImageProgress(msgspec.Struct, frozen=True):
    """An event while an image is made; `total` is 0 if not known."""

    phase: str
    done: int
    total: int
    type: Literal["image_generation.progress"] = "image_generation.progress"


class ImageCompleted(msgspec.Struct, frozen=True):
    """The event that carries an image."""

    b64_json: str
    created_at: int
    index: int
    seed: int
    output_format: Literal["png"] = "png"
    type: Literal["image_generation.completed"] = "image_generation.completed"


class Embedding(msgspec.Struct, frozen=True):
    """One vector: numbers, or the base64 of little-endian 32-bit floats."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class Embeddings(msgspec.Struct, frozen=True):
    """The answer of /v1/embeddings."""

    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


class Model(msgspec.Struct, frozen=True):
    """A model; `kind` and `state` are not OpenAI's."""

    id: str
    created: int
    kind: str
    state: str
    owned_by: str = "daiic"
    object: Literal["model"] = "model"


class Models(msgspec.Struct, frozen=True):
    """The answer of /v1/models."""

    data: list[Model]
    object: Literal["list"] = "list"


def finish_reason(result: pb.Result) -> FinishReason:
    """Return why generation ended."""
    return "length" if result.finish_reason == pb.FINISH_REASON_LENGTH else "stop"


def usage(results: list[pb.Result], choices_per_prompt: int) -> Usage:
    """Return the tokens of all answers; a prompt counts once, however many answers it got."""
    read = sum(result.usage.prompt_tokens for result in results[::choices_per_prompt])
    written = sum(result.usage.completion_tokens for result in results)
    return Usage(read, written, read + written)
