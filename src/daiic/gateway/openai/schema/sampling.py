"""What every request for a text has: its model, and how its tokens are chosen."""

from typing import Annotated

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError
from daiic.gateway.limits import LOGIT_BIASES
from daiic.gateway.openai.schema.fields import ModelName, Seed
from daiic.wire import daiic_pb2 as pb

StopText = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = StopText | Annotated[list[StopText], Meta(max_length=16)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Probability = Annotated[float, Meta(ge=0, le=1)]
TopK = Annotated[int, Meta(ge=0, le=2**31 - 1)]
RepetitionPenalty = Annotated[float, Meta(ge=0.01, le=10)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
"""How many of the likeliest tokens to tell beside each one made."""


class SampledRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a text.

    `top_k`, `min_p` and `repetition_penalty` are not OpenAI's; vLLM and llama.cpp call them so.
    """

    model: ModelName
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=LOGIT_BIASES)] | None = None

    @property
    def limit(self) -> int:
        """How many tokens to generate at most; 0 leaves it to the worker."""
        return 0

    @property
    def stops(self) -> list[str]:
        """The texts at which generation stops."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def likeliest(self) -> int | None:
        """How many of the likeliest tokens to tell beside each one made; `None`: tell nothing."""
        return None

    @property
    def constraint(self) -> tuple[pb.Constraint, str] | None:
        """What the answer must be, and which field says so.

        Raises:
            ApiError: 400 if two fields say so, or one cannot be used.
        """
        return None

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        for token in self.logit_bias or ():
            if not (token.isascii() and token.isdecimal() and len(token) < 11) or int(token) >> 32:
                raise ApiError(
                    400, "logit_bias: its keys are numbers of tokens", param="logit_bias"
                )
