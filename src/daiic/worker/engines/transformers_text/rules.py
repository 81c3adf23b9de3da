"""What the tokens of an answer are chosen by, beside temperature, top_k and top_p."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.text.sampling import checked_sampling
from daiic.worker.engines.transformers_text.grammar import Grammar


@dataclass(frozen=True, slots=True)
class Rules:
    """As it is, it changes nothing, and tells nothing.

    `farthest` is how far below the largest score a token may be that is chosen; min_p says that
    as a share of probability. `logprobs` is how many of the likeliest tokens to tell.
    """

    grammar: Grammar | None = None
    bias: Mapping[int, float] = field(default_factory=dict)
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    farthest: float = math.inf
    logprobs: int | None = None

    def __bool__(self) -> bool:
        return self != Rules()

    @property
    def penalizes(self) -> bool:
        """Whether tokens are less likely for having been there."""
        penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)
        return penalties != (1.0, 0.0, 0.0)


def rules_of(
    sampling: pb.Sampling, grammar: Grammar | None, *, temperature: float, vocabulary: int
) -> Rules:
    """Return what a task's `sampling` and constraint ask for at a `temperature`.

    Raises:
        TaskError: BAD_REQUEST for a value that cannot be used, or a token beyond the `vocabulary`.
    """
    values = checked_sampling(sampling)
    largest = max(sampling.logit_bias, default=0)
    if largest >= vocabulary:
        raise bad(
            f"`logit_bias` has the token {largest}, and the model has {vocabulary} tokens",
            "use the tokens of this model's own tokenizer",
        )
    share = values.pop("min_p", 0.0)
    return Rules(
        grammar=grammar,
        bias=dict(sampling.logit_bias),
        farthest=-temperature * math.log(share) if share else math.inf,
        logprobs=min(sampling.logprobs, vocabulary) if sampling.HasField("logprobs") else None,
        **values,
    )
