"""POST /api/models."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.limits import BENCH_WORKERS
from daiic.gateway.openai.schema.fields import ModelName


class ManageRequest(msgspec.Struct, frozen=True):
    """What to do with `model`, on all workers that have it, or on those with these ids."""

    model: ModelName
    action: Literal["unload", "pin", "unpin", "delete"]
    workers: Annotated[list[str], Meta(max_length=BENCH_WORKERS)] = []

    def check(self) -> None:
        """Accept it."""


class Rights(msgspec.Struct, frozen=True):
    """Whether the client may manage models."""

    may_manage: bool


class Outcome(msgspec.Struct, frozen=True):
    """What became of it on one worker; `error` is empty where it was done."""

    worker: str
    name: str
    error: str


class Managed(msgspec.Struct, frozen=True):
    """The response."""

    outcomes: list[Outcome]
