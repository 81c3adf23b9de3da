"""What a bench tells while it runs, and what is kept of it: plain values, also as JSON."""

from typing import Annotated

import msgspec

from daiic.shown import shown

SHORT, LONG = 256, 2000
Short = Annotated[str, msgspec.Meta(max_length=SHORT)]
Long = Annotated[str, msgspec.Meta(max_length=LONG)]
MOST = 2**63 - 1
"""What msgspec reads at most; workers may say more."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Amount = Annotated[float, msgspec.Meta(ge=0)]

MOST_ROUNDS = 16


class Round(msgspec.Struct, frozen=True):
    """What so many streams got: tokens a second together and each, seconds to the first token.

    `rate` and `first_token` are medians over the streams; `tokens` is the sum.
    `bytes` is the memory that the model took then, 0 if the worker does not tell.
    """

    streams: Count
    prompt_tokens: Count
    tokens: Count
    total_rate: Amount
    rate: Amount
    first_token: Amount
    slowest_first_token: Amount
    bytes: Count = 0


class Step(msgspec.Struct, frozen=True, tag_field="event", tag="step"):
    """What is measured now: so many `streams`, or with 0 it is a `phase` of loading.

    `share` of that phase is done, 0 to 1.
    """

    worker: Short
    name: Short
    streams: Count = 0
    phase: Short = ""
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="measured"):
    """A worker's figures, those of a single stream first.

    `at` is in seconds since the Epoch, `tokens` how many an answer was asked for.
    """

    at: Count
    model: Short
    tokens: Count
    worker: Short
    name: Short
    version: Short
    backend: Short
    device: Short
    engine: Short
    quantization: Short
    placement: Short
    choice: Long
    rounds: Annotated[list[Round], msgspec.Meta(max_length=MOST_ROUNDS)]
    notes: Annotated[list[Long], msgspec.Meta(max_length=8)]

    @property
    def bytes(self) -> int:
        """The most memory that the model took."""
        return max((done.bytes for done in self.rounds), default=0)


class Failed(msgspec.Struct, frozen=True, tag_field="event", tag="failed"):
    """A worker that could not be measured, and what to do about it."""

    worker: Short
    name: Short
    message: Long
    remedy: Long


Event = Step | Measured | Failed


def short(text: str) -> str:
    """Return a name that came from elsewhere as `Short` takes it, without what cannot be seen."""
    return shown(text)[:SHORT]
