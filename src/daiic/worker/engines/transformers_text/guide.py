"""What the next token of one text depends on beside its row of scores: what came before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from daiic.worker.engines.transformers_text.grammar import TOO_SLOW
from daiic.worker.engines.transformers_text.penalties import Penalties
from daiic.worker.engines.transformers_text.rules import Rules
from daiic.worker.limits import LIMITS


class Later:
    """Numbers that the device has, or will have, and that are on their way to the host."""

    def __init__(self, numbers: torch.Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._numbers = numbers
        if numbers.is_cuda:
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def get(self) -> torch.Tensor:
        """Wait for them."""
        if self._event is not None:
            self._event.synchronize()
        return self._numbers


MASK_SECONDS = LIMITS.mask_seconds
USUAL = 0.01
"""Seconds of processor time for a mask that count for nothing: most take a hundredth of that."""

Likelihoods = list[tuple[int, float]]
"""Tokens and the logarithms of their probabilities: of the chosen one first, then the likeliest."""


class Told:
    """How likely tokens are in some rows, by the model alone: before anything changes it."""

    def __init__(self, scores: torch.Tensor, most: int) -> None:
        """`scores` are [rows, vocabulary], and `most` of the likeliest are told of each."""
        self._all = scores.log_softmax(-1)
        self._likeliest = tuple(map(Later, self._all.topk(most)))

    def choose(self, chosen: torch.Tensor) -> None:
        """Tell of the `chosen` tokens [rows] too."""
        place = chosen[:, None]
        self._chosen = Later(place), Later(self._all.gather(-1, place))
        del self._all

    def of(self, row: int, most: int) -> Likelihoods:
        """Return those in a `row`."""
        pairs: Likelihoods = []
        for (tokens, values), end in ((self._chosen, 1), (self._likeliest[::-1], most)):
            told = tokens.get()[row, :end].tolist(), values.get()[row, :end].tolist()
            pairs += zip(*told, strict=True)
        return pairs


@dataclass(slots=True, eq=False)
class Guide:
    """Keeps to the `rules` of one answer whose first token is at the place `start` of its text.

    `tokens` are those that it knows. Once `error` says why the answer cannot go on, it ends.
    """

    rules: Rules
    start: int
    tokens: list[int] = field(default_factory=list)
    error: str = ""
    matcher: Any = None
    penalties: Penalties | None = None
    _spent: float = 0.0
    _made: tuple[int, Later, int] | None = None
    _told: dict[int, tuple[Told, int]] = field(default_factory=dict)

    @classmethod
    def after(cls, rules: Rules, prompt: int, text: Sequence[int]) -> "Guide":
        """Return one for an answer to so many tokens of a `prompt`, with which `text` begins."""
        guide = cls(rules, prompt)
        if rules.grammar is not None:
            guide.matcher = rules.grammar.matcher()
        if rules.bias or rules.penalizes:
            guide.penalties = Penalties(rules, text[:prompt])
        for token in text[prompt:]:
            guide._push(token)
        return guide

    def check(self) -> None:
        """See whether the answer can go on.

        Raises:
            TaskError: BAD_REQUEST, with the reason, if it cannot.
        """
        if self.error and self.rules.grammar is not None:
            raise self.rules.grammar.refusal(self.error)

    @property
    def is_held(self) -> bool:
        """Whether its tokens must keep to a grammar, and still can."""
        return self.matcher is not None and not self.error

    @property
    def vocabulary(self) -> int:
        """How many tokens its masks are of."""
        return 0 if self.rules.grammar is None else self.rules.grammar.vocabulary

    def __deepcopy__(self, memo: Any) -> "Guide":
        """It goes along with its text, which the batching manager copies to start it over."""
        return self

    def made(self, place: int, tokens: Later, row: int) -> None:
        """Note that the token at `place` of the text is the one in `row` of `tokens`."""
        self._made = (place, tokens, row)

    def spend(self, seconds: float) -> None:
        """Note that its mask took so many `seconds`, and whether it could be made."""
        self._spent += seconds
        if self.error:
            return
        if self.matcher.is_error():
            self.error = str(self.matcher.get_error())
        elif self._spent > MASK_SECONDS + USUAL * len(self.tokens):
            self.error = TOO_SLOW

    def told(self, place: int, told: Told, row: int) -> None:
        """Note how likely the tokens at `place` are: it is in `row` of what is `told`."""
        self._told[place] = (told, row)

    def likelihoods(self, place: int) -> Likelihoods:
        """Return how likely the token at `place` was that was chosen, and the likeliest; once."""
        told, row = self._told.pop(place)
        return told.of(row, self.rules.logprobs or 0)

    def reach(self, place: int) -> None:
        """Know the tokens before `place`: its text may also have gone back to an earlier one."""
        known = place - self.start
        while len(self.tokens) > known:
            token = self.tokens.pop()
            if self.penalties is not None:
                self.penalties.count(token, -1)
            if self.is_held:
                self.matcher.rollback(1)
        if len(self.tokens) < known and self._made is not None and self._made[0] == place - 1:
            _, made, row = self._made
            self._push(int(made.get()[row]))
        if len(self.tokens) != known:
            raise RuntimeError(f"the token {len(self.tokens)} of an answer is not known")

    def _push(self, token: int) -> None:
        self.tokens.append(token)
        if self.penalties is not None:
            self.penalties.count(token, 1)
        if self.is_held and not self.matcher.consume_token(token):
            self.error = str(self.matcher.get_error()) or "no token can follow"
