"""Whether two models are the same, whatever they are called.

An answer may be continued only by the model that began it. What either side
does not tell counts as equal: workers of older versions tell nothing.
"""

from daiic.wire import daiic_pb2 as pb

ASPECTS = ("weights", "tokenizer", "quantization", "precision")


def differences(one: pb.ModelIdentity, other: pb.ModelIdentity) -> list[str]:
    """Return those of `ASPECTS` in which the two differ."""
    return [
        aspect
        for aspect in ASPECTS
        if getattr(one, aspect)
        and getattr(other, aspect)
        and getattr(one, aspect) != getattr(other, aspect)
    ]
