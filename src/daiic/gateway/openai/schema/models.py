"""GET /v1/models and /v1/models/<id>."""

from typing import Literal

import msgspec


class Model(msgspec.Struct, frozen=True):
    """A model; `kind`, `state` and `capabilities` are not OpenAI's.

    `capabilities` are what it can do on at least one worker: "chat", "complete", "embed", "paint".
    """

    id: str
    created: int
    kind: str
    state: str
    capabilities: list[str]
    owned_by: str = "daiic"
    object: Literal["model"] = "model"


class Models(msgspec.Struct, frozen=True):
    """The response of /v1/models."""

    data: list[Model]
    object: Literal["list"] = "list"
