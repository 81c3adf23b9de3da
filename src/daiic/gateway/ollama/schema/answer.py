"""The answers; times are in nanoseconds."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from daiic.gateway.openai.schema.logprobs import TokenLogprob


class AnsweredFunction(msgspec.Struct, frozen=True):
    """What the model calls."""

    name: str
    arguments: msgspec.Raw


class AnsweredCall(msgspec.Struct, frozen=True):
    """A call of a tool."""

    function: AnsweredFunction


class AnswerMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model says, thinks and calls."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: list[AnsweredCall] = []


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a stream, or a whole answer.

    A chat's has a `message`, another text's its `response` and `thinking`. The last one says why
    the answer is `done` and what it took.
    """

    model: str
    created_at: str
    done: bool
    message: AnswerMessage | UnsetType = UNSET
    response: str | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    logprobs: list[TokenLogprob] | UnsetType = UNSET
    done_reason: str | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class Embeddings(msgspec.Struct, frozen=True):
    """The response of /api/embed."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OldEmbedding(msgspec.Struct, frozen=True):
    """The response of /api/embeddings."""

    embedding: list[float]


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a pull's stream; `completed` and `total` are bytes."""

    status: str
    total: int = 0
    completed: int = 0


class Details(msgspec.Struct, frozen=True):
    """What a model is; what workers do not tell is empty."""

    quantization_level: str
    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] = []
    parameter_size: str = ""


class Listed(msgspec.Struct, frozen=True):
    """A model in /api/tags; `size` is that of its memory."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class Tags(msgspec.Struct, frozen=True):
    """The response of /api/tags."""

    models: list[Listed]


class Loaded(msgspec.Struct, frozen=True):
    """A model in /api/ps."""

    name: str
    model: str
    size: int
    size_vram: int
    digest: str
    details: Details
    expires_at: str


class Processes(msgspec.Struct, frozen=True):
    """The response of /api/ps."""

    models: list[Loaded]


class Shown(msgspec.Struct, frozen=True):
    """The response of /api/show."""

    modified_at: str
    details: Details
    capabilities: list[str]
    model_info: dict[str, Any] = {}
    modelfile: str = ""
    template: str = ""
    parameters: str = ""
    license: str = ""


class Deleted(msgspec.Struct, frozen=True):
    """The response of /api/delete, which says nothing."""


class Version(msgspec.Struct, frozen=True):
    """The response of /api/version."""

    version: str
