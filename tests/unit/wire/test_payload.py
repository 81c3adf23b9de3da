"""What is decoded has no more fields than a bound, and everything ordinary is decoded."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from daiic.wire import daiic_pb2 as pb
from daiic.wire.payload import LONG, MAX_FIELDS, SURELY_CHEAP, decode, split


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


IMAGES, EMBEDDINGS, TEXT, IMAGE = 12, 13, 8, 9

long_bytes = st.integers(LONG - 2, 3 * LONG).map(bytes)
media = st.builds(pb.Media, data=long_bytes, type=st.sampled_from(["", "image/png"]))
parts = st.one_of(
    st.builds(pb.ContentPart, text=st.text(max_size=9)),
    st.builds(pb.ContentPart, image=media),
    st.builds(pb.ContentPart, audio=media),
)
messages = st.builds(
    pb.ChatMessage, role=st.sampled_from(["user", ""]), parts=st.lists(parts, max_size=4)
)
tasks = st.one_of(
    st.builds(
        pb.Task,
        id=st.integers(0, 9),
        text=st.builds(pb.TextTask, messages=st.lists(messages, max_size=4)),
        tags=st.lists(st.text(max_size=3), max_size=2),
    ),
    st.builds(pb.Task, image=st.builds(pb.ImageTask, image=media, mask=media, n=st.integers(0, 3))),
)
results = st.builds(
    pb.Result,
    id=st.integers(0, 9),
    text=st.text(max_size=9),
    images=st.lists(st.builds(pb.Image, png=long_bytes, seed=st.integers(0, 9)), max_size=3),
    embeddings=st.lists(
        st.builds(pb.Embedding, values=st.lists(st.just(0.5), max_size=LONG)), max_size=2
    ),
    logprobs=st.lists(
        st.builds(pb.TokenLogprobs, token=st.builds(pb.TokenLogprob, bytes=long_bytes)), max_size=2
    ),
)


def large(payload: bytes) -> bytes:
    """Return `payload` with so much after it, in a field that nobody knows, that it is large."""
    filler = pb.Result(text="x" * SURELY_CHEAP).text.encode()
    return payload + b"\xfa\x3f" + bytes([0x80, 0x80, 0x04]) + filler


def edited(payload: bytes, form: type, aside: set[int], change) -> bytes:
    message, pieces = split(form, payload, aside)
    for number in aside:
        message.ClearField(form.DESCRIPTOR.fields_by_number[number].name)
    change(message)
    return b"".join((*pieces, message.SerializeToString()))


@given(results)
def test_what_is_passed_on_is_what_parsing_changing_and_writing_gives(result: pb.Result) -> None:
    def change(message: pb.Result) -> None:
        message.id, message.index = 77, 5

    payload = large(result.SerializeToString())
    parsed = pb.Result.FromString(payload)
    change(parsed)
    assert pb.Result.FromString(edited(payload, pb.Result, {IMAGES, EMBEDDINGS}, change)) == parsed


@given(st.lists(tasks, min_size=1, max_size=2))
def test_a_seed_is_set_in_work_that_was_not_read(tasks: list[pb.Task]) -> None:
    # Of several kinds of work in one payload, the last one counts.
    payload = large(b"".join(task.SerializeToString() for task in tasks))
    parsed = pb.Task.FromString(payload)

    def change(message: pb.Task) -> None:
        message.id = 77
        getattr(message, tasks[-1].WhichOneof("work")).seed = 3

    change(parsed)
    assert pb.Task.FromString(edited(payload, pb.Task, {TEXT, IMAGE}, change)) == parsed


@given(tasks)
def test_all_but_long_bytes_is_read(task: pb.Task) -> None:
    read, _ = split(pb.Task, large(task.SerializeToString()), {TEXT, IMAGE})
    assert read.WhichOneof("work") == task.WhichOneof("work")
    assert read.image.n == task.image.n
    for message, original in zip(read.text.messages, task.text.messages, strict=True):
        kinds = [part.WhichOneof("part") for part in original.parts]
        assert [part.WhichOneof("part") for part in message.parts] == kinds
        for part, whole in zip(message.parts, original.parts, strict=True):
            assert part.text == whole.text
            assert len(part.image.data) <= LONG
            assert part.image.type == whole.image.type


def test_a_small_message_is_read_whole() -> None:
    result = pb.Result(id=1, images=[pb.Image(png=bytes(SURELY_CHEAP // 2))])
    assert split(pb.Result, result.SerializeToString(), {IMAGES}) == (result, [])


@given(results, st.binary(min_size=1, max_size=30), st.data())
def test_what_a_receiver_could_not_read_is_not_passed_on(
    result: pb.Result, noise: bytes, data: st.DataObject
) -> None:
    payload = large(result.SerializeToString())
    end = len(payload) - SURELY_CHEAP
    at = data.draw(st.integers(0, end))
    cut = data.draw(st.integers(0, 8))
    payload = payload[:at] + noise + payload[at + cut :]
    try:
        passed_on = edited(payload, pb.Result, {IMAGES, EMBEDDINGS}, lambda message: None)
    except DecodeError:
        return
    assert pb.Result.FromString(passed_on) == pb.Result.FromString(payload)
