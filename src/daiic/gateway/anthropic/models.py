"""GET /v1/models as Anthropic's clients know it."""

from typing import Literal

import msgspec

from daiic.gateway.monitoring.cluster_view import KnownModel
from daiic.gateway.rfc3339 import rfc3339

VERSION_HEADER = "anthropic-version"
"""A header that all of Anthropic's clients send."""


class Model(msgspec.Struct, frozen=True):
    """A model that there is."""

    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    type: Literal["model"] = "model"

    @classmethod
    def of(cls, known: KnownModel) -> "Model":
        """Return what is told of `known`."""
        return cls(known.name, known.name, rfc3339(known.since))


class Models(msgspec.Struct, frozen=True):
    """All of them, on one page."""

    data: list[Model]
    first_id: str | None
    last_id: str | None
    has_more: bool = False

    @classmethod
    def of(cls, known: list[KnownModel]) -> "Models":
        """Return what is told of those that are `known`."""
        models = [Model.of(one) for one in known]
        return cls(models, models[0].id if models else None, models[-1].id if models else None)
