"""Guessing tokens ahead: with what, whether it pays, and how often it was right.

llama-server guesses by itself: with a draft model, or with what followed the same words earlier in
the text (prompt lookup). The model checks several guesses in one step, which costs more than a step
for one token; how much more depends on the machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from daiic.wire import daiic_pb2 as pb

log = structlog.get_logger()

ENOUGH = 512
"""Guesses after which it is known whether they pay."""
CHECKING = {"draft": 0.6, "lookup": 0.25}
CHECKING_ON_CARDS = {"draft": 0.1, "lookup": 0.05}
"""What it costs to check a guess, as a share of a step for one token. A draft model's guesses come
three at a time, those of a lookup by dozens, and CPUs are soon busy: measured on two cores, four
tokens take 2.9 times as long as one. The other shares are assumed, not measured."""


@dataclass(slots=True)
class Speculation:
    """How the guesses of one loaded model fare.

    `draft` is the file of the model that guesses, `None` for prompt lookup;
    `draft_share` its bytes as a share of the model's, which is about the time it takes.
    """

    backend: pb.Backend
    draft: Path | None = None
    draft_share: float = 0.0
    drafted: int = 0
    accepted: int = 0

    def count(self, timings: Mapping[str, Any]) -> None:
        """Add what llama-server tells with an answer."""
        self.drafted += int(timings.get("draft_n", 0))
        self.accepted += int(timings.get("draft_n_accepted", 0))

    @property
    def break_even(self) -> float:
        """The share of guesses that must be right to cost no more time than they save."""
        costs = CHECKING if self.backend == pb.CPU else CHECKING_ON_CARDS
        return costs["lookup" if self.draft is None else "draft"] + self.draft_share

    @property
    def pays(self) -> bool:
        """Whether it saves time, as far as is known."""
        return self.drafted < ENOUGH or self.accepted >= self.break_even * self.drafted

    def told(self) -> pb.Speculation:
        """Return what a heartbeat says of it."""
        return pb.Speculation(drafted=self.drafted, accepted=self.accepted)


class Guesses:
    """Which models a worker has learned not to guess for, by their files' names."""

    def __init__(self) -> None:
        self._useless: set[str] = set()

    def allowed(self, model: str) -> bool:
        """Return whether guessing for `model` may be worth it."""
        return model not in self._useless

    def note(self, model: str, speculation: Speculation) -> None:
        """Remember how guesses for `model` fared."""
        if not speculation.pays and model not in self._useless:
            self._useless.add(model)
            log.info(
                "guessing ahead does not pay for this model",
                model=model,
                drafted=speculation.drafted,
                accepted=speculation.accepted,
            )
