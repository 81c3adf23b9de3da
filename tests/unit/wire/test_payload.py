"""What is decoded has no more fields than a bound, and everything ordinary is decoded."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from daiic.wire import daiic_pb2 as pb
from daiic.wire.payload import MAX_FIELDS, SURELY_CHEAP, decode


def test_large_messages_of_few_fields_are_decoded() -> None:
    for message in (
        pb.Result(id=1, images=[pb.Image(png=bytes(1 << 20))] * 10, tokens=range(50_000)),
        pb.Result(embeddings=[pb.Embedding(values=[0.5] * 100)] * 2048),
        pb.Task(text=pb.TextTask(messages=[pb.ChatMessage(role="user", content="x" * 99)] * 2000)),
    ):
        payload = message.SerializeToString()
        assert len(payload) > SURELY_CHEAP
        assert decode(type(message), payload) == message


@pytest.mark.parametrize(
    "form, message",
    [
        (pb.Result, pb.Result(images=[pb.Image()] * (2 * MAX_FIELDS))),
        (pb.Task, pb.Task(text=pb.TextTask(messages=[pb.ChatMessage()] * (2 * MAX_FIELDS)))),
        (pb.Task, pb.Task(embed=pb.EmbedTask(inputs=[""] * (2 * MAX_FIELDS)))),
    ],
    ids=["images", "messages", "inputs"],
)
def test_too_many_fields_at_any_depth_are_not_decoded(form: type, message: pb.Task) -> None:
    payload = message.SerializeToString() + pb.Result(text="x" * SURELY_CHEAP).SerializeToString()
    with pytest.raises(DecodeError, match="too many fields"):
        decode(form, payload)


@given(st.binary(max_size=200), st.integers(0, 100))
def test_nothing_but_a_decode_error_is_raised(noise: bytes, cut: int) -> None:
    payload = pb.Result(text="x" * SURELY_CHEAP).SerializeToString() + noise
    for data in (payload, payload[: len(payload) - cut]):
        try:
            expected: pb.Result | None = pb.Result.FromString(data)
        except DecodeError:
            expected = None
        try:
            found: pb.Result | None = decode(pb.Result, data)
        except DecodeError:
            found = None
        assert found is None or found == expected
