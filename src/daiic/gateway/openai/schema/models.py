"""GET /v1/models and /v1/models/<id>."""

from typing import Literal

import msgspec


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
