"""What a task's `Sampling` asks for, as llama-server takes it, and how likely its tokens were."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad
from daiic.worker.limits import LIMITS

MAX_LOGPROBS = LIMITS.logprobs
MAX_BIASES = LIMITS.logit_biases
MAX_BIAS = 100.0
WHOLE_CONTEXT = 1 << 15

_RANGES = (
    ("min_p", "min_p", 0.0, 1.0),
    ("repetition_penalty", "repeat_penalty", 0.01, 10.0),
    ("presence_penalty", "presence_penalty", -2.0, 2.0),
    ("frequency_penalty", "frequency_penalty", -2.0, 2.0),
)
"""Our name, llama-server's, and from where to where."""


def sampling_fields(sampling: pb.Sampling) -> dict[str, Any]:
    """Return the fields of a completion request that do what `sampling` asks for.

    Penalties look at the whole context, so that an answer that continues elsewhere is punished
    for the same tokens.

    Raises:
        TaskError: BAD_REQUEST for a value that cannot be used.
    """
    fields: dict[str, Any] = {}
    for name, theirs, least, most in _RANGES:
        if sampling.HasField(name):
            value = getattr(sampling, name)
            if not least <= value <= most:  # nor if it is not a number
                raise bad(f"`{name}` is {value:g}", f"send {least:g} to {most:g}")
            fields[theirs] = value
    if len(fields) > ("min_p" in fields):
        fields["repeat_last_n"] = WHOLE_CONTEXT
    if sampling.logit_bias:
        fields["logit_bias"] = _biases(sampling.logit_bias)
    if sampling.HasField("logprobs"):
        if sampling.logprobs > MAX_LOGPROBS:
            raise bad(f"`logprobs` is {sampling.logprobs}", f"send at most {MAX_LOGPROBS}")
        fields["n_probs"] = max(sampling.logprobs, 1)  # 0 asks for those of the made tokens alone
    return fields


def _biases(asked: Mapping[int, float]) -> list[list[float]]:
    if len(asked) > MAX_BIASES:
        raise bad(f"`logit_bias` has {len(asked)} tokens", f"send at most {MAX_BIASES}")
    for token, bias in asked.items():
        if not math.fabs(bias) <= MAX_BIAS:
            raise bad(
                f"`logit_bias` of the token {token} is {bias:g}",
                f"send -{MAX_BIAS:g} to {MAX_BIAS:g}",
            )
    return [[token, bias] for token, bias in sorted(asked.items())]


def logprobs_in(told: Sequence[Mapping[str, Any]], wanted: int) -> list[pb.TokenLogprobs]:
    """Return what llama-server tells of each made token, with the `wanted` likeliest ones."""
    return [
        pb.TokenLogprobs(
            token=_logprob(one),
            likeliest=[_logprob(other) for other in one.get("top_logprobs", ())[:wanted]],
        )
        for one in told
    ]


def _logprob(one: Mapping[str, Any]) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        token=int(one["id"]), logprob=float(one["logprob"]), bytes=bytes(one.get("bytes", ()))
    )
