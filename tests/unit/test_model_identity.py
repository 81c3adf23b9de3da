"""Which models may continue each other's answers."""

from daiic.model_identity import differences
from daiic.wire import daiic_pb2 as pb

WHOLE = pb.ModelIdentity(weights="w", tokenizer="t", quantization="4bit")


def test_models_that_are_equal_in_all_differ_in_nothing() -> None:
    assert differences(WHOLE, WHOLE) == []


def test_each_difference_is_named() -> None:
    other = pb.ModelIdentity(weights="v", tokenizer="t", quantization="none")
    assert differences(WHOLE, other) == ["weights", "quantization"]


def test_what_is_not_told_counts_as_equal() -> None:
    assert differences(WHOLE, pb.ModelIdentity()) == []
    assert differences(pb.ModelIdentity(weights="w"), WHOLE) == []
