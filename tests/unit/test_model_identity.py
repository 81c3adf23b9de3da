"""Which models may continue each other's answers."""

from daiic.model_identity import differences
from daiic.wire import daiic_pb2 as pb

WHOLE = pb.ModelIdentity(weights="w", tokenizer="t", quantization="4bit")


def test_models_that_are_equal_in_all_differ_in_nothing() -> None:
    assert differences(WHOLE, WHOLE) == []


def test_each_difference_is_named() -> None:
    other = pb.ModelIdentity(weights="v", tokenizer="t", quantization="none")
    assert differences(WHOLE, other) == ["weights", "quantization"]


def test_weights_that_compute_in_another_precision_are_another_model() -> None:
    exact = pb.ModelIdentity(weights="w", precision="float32")
    rounded = pb.ModelIdentity(weights="w", precision="bfloat16")
    assert differences(exact, rounded) == ["precision"]
    assert differences(exact, WHOLE) == [], "which does not tell its precision"


def test_what_is_not_told_counts_as_equal() -> None:
    assert differences(WHOLE, pb.ModelIdentity()) == []
    assert differences(pb.ModelIdentity(weights="w"), WHOLE) == []
