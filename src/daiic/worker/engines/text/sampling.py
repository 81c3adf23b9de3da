"""What a task's `Sampling` may ask for, checked before an engine sees it."""

import math

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad
from daiic.worker.limits import LIMITS

MAX_LOGPROBS = LIMITS.logprobs
MAX_BIASES = LIMITS.logit_biases
MAX_BIAS = 100.0
RANGES = {
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 10.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}


def checked_sampling(sampling: pb.Sampling) -> dict[str, float]:
    """Return those of RANGES that `sampling` has, after all of it was checked.

    Raises:
        TaskError: BAD_REQUEST for a value that cannot be used.
    """
    values = {}
    for name, (least, most) in RANGES.items():
        if sampling.HasField(name):
            value = getattr(sampling, name)
            if not least <= value <= most:  # nor if it is not a number
                raise bad(f"`{name}` is {value:g}", f"send {least:g} to {most:g}")
            values[name] = value
    if len(sampling.logit_bias) > MAX_BIASES:
        raise bad(
            f"`logit_bias` has {len(sampling.logit_bias)} tokens", f"send at most {MAX_BIASES}"
        )
    for token, bias in sampling.logit_bias.items():
        if not math.fabs(bias) <= MAX_BIAS:
            raise bad(
                f"`logit_bias` of the token {token} is {bias:g}",
                f"send -{MAX_BIAS:g} to {MAX_BIAS:g}",
            )
    if sampling.logprobs > MAX_LOGPROBS:
        raise bad(f"`logprobs` is {sampling.logprobs}", f"send at most {MAX_LOGPROBS}")
    return values
