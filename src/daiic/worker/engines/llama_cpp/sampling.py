"""What a task's `Sampling` asks for, as llama-server takes it, and how likely its tokens were."""

from collections.abc import Mapping, Sequence
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.sampling import checked_sampling

WHOLE_CONTEXT = 1 << 15
_THEIRS = {"repetition_penalty": "repeat_penalty"}


def sampling_fields(sampling: pb.Sampling) -> dict[str, Any]:
    """Return the fields of a completion request that do what `sampling` asks for.

    Penalties look at the whole context, so that an answer that continues elsewhere is punished
    for the same tokens.

    Raises:
        TaskError: BAD_REQUEST for a value that cannot be used.
    """
    values = checked_sampling(sampling)
    fields: dict[str, Any] = {_THEIRS.get(name, name): value for name, value in values.items()}
    if len(fields) > ("min_p" in fields):
        fields["repeat_last_n"] = WHOLE_CONTEXT
    if sampling.logit_bias:
        fields["logit_bias"] = [
            [token, bias] for token, bias in sorted(sampling.logit_bias.items())
        ]
    if sampling.HasField("logprobs"):
        fields["n_probs"] = max(sampling.logprobs, 1)  # 0 asks for those of the made tokens alone
    return fields


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
