"""GET /v1/models and /v1/models/<id>."""

from typing import Literal

import msgspec


class Model(msgspec.Struct, frozen=True):
    """A model; what is beside `id`, `created`, `owned_by` and `object` is not OpenAI's.

    `capabilities` are what it can do on at least one worker: "chat", "complete", "embed", "paint".
    `bytes` are those of memory that it takes, or is expected to; 0 if that is not known yet.
    `parent` is the model that this one is with an adapter, as vLLM calls it.
    """

    id: str
    created: int
    kind: str
    state: str
    capabilities: list[str]
    quantization: str
    bytes: int
    parent: str | None = None
    owned_by: str = "daiic"
    object: Literal["model"] = "model"


class Models(msgspec.Struct, frozen=True):
    """The response of /v1/models."""

    data: list[Model]
    object: Literal["list"] = "list"
