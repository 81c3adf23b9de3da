"""The bodies of `/api/benches`."""

from typing import Annotated

import msgspec

from daiic.bench.figures import Measured, Short
from daiic.gateway.limits import BENCH_STREAMS, BENCH_TOKENS, BENCH_WORKERS

Names = Annotated[tuple[Short, ...], msgspec.Meta(max_length=BENCH_WORKERS)]


class BenchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to measure: `workers` are ids or names; none means all that have the model and `tags`.

    `deadline` is in seconds, for each answer.
    """

    model: Annotated[Short, msgspec.Meta(min_length=1)]
    workers: Names = ()
    tags: Names = ()
    streams: Annotated[int, msgspec.Meta(ge=1, le=BENCH_STREAMS)] = 8
    tokens: Annotated[int, msgspec.Meta(ge=2, le=BENCH_TOKENS)] = 64
    deadline: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 300.0

    def check(self) -> None:
        """Everything is in the types."""


class Benches(msgspec.Struct, frozen=True):
    """All that was measured, the oldest first, and whether the one who asks may measure more."""

    may_start: bool
    running: bool
    most_streams: int
    most_tokens: int
    measured: list[Measured]
