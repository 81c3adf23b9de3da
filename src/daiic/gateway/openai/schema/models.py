"""GET /v1/models and /v1/models/<id>."""

from typing import Literal

import msgspec


class Model(msgspec.Struct, frozen=True):
    """A model; `kind`, `state`, `capabilities`, `quantization` and `bytes` are not OpenAI's.

    `capabilities` are what it can do on at least one worker: "chat", "complete", "embed", "paint".
    `bytes` are those of memory that it takes, or is expected to; 0 if that is not known yet.
    """

    id: str
    created: int
    kind: str
    state: str
    capabilities: list[str]
    quantization: str
    bytes: int
    owned_by: str = "daiic"
    object: Literal["model"] = "model"


class Models(msgspec.Struct, frozen=True):
    """The response of /v1/models."""

    data: list[Model]
    object: Literal["list"] = "list"
