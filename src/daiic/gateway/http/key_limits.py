"""What one API key may do: how much, with which models, and whose turn it is when all is busy."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec

Limit = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
"""0 is no limit."""
ModelPattern = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,400}\Z")]
Priority = Literal["low", "normal", "high"]

WEIGHTS: dict[Priority, int] = {"low": 25, "normal": 100, "high": 400}
"""How large a share of the workers a client gets beside others that wait, see `Task.weight`."""


class KeyLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limits of a key as its file has them; `None` is the gateway's own setting.

    Tokens are those of prompts and answers. A day begins at midnight, UTC.
    `models` are names, or patterns with `*`, `?` and `[...]`; without any, all may be used.
    """

    requests_per_minute: Limit | None = None
    requests_per_day: Limit | None = None
    tokens_per_minute: Limit | None = None
    tokens_per_day: Limit | None = None
    concurrent_requests: Limit | None = None
    models: Annotated[tuple[ModelPattern, ...], msgspec.Meta(max_length=1000)] = ()
    priority: Priority = "normal"

    def allows(self, model: str) -> bool:
        """Return whether requests may name `model`."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


AMOUNTS = (
    "requests_per_minute",
    "requests_per_day",
    "tokens_per_minute",
    "tokens_per_day",
    "concurrent_requests",
)
"""The limits that are numbers, and are settings of the gateway too."""
