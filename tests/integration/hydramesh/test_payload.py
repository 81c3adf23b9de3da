"""HydraMesh bounds what a payload may cost, and splits it, as wire/payload.py does."""

import struct

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.wire import daiic_pb2 as pb
from daiic.wire import payload
from support.processes.lisp_codec import LispCodec, MalformedError
from support.strange_messages import encoded, few, fields, many

long_bytes = st.integers(payload.LONG - 2, 3 * payload.LONG).map(bytes)
media = st.builds(pb.Media, data=long_bytes, type=st.sampled_from(["", "image/png"]))
parts = (
    st.builds(pb.ContentPart, text=st.text(max_size=9))
    | st.builds(pb.ContentPart, image=media)
    | st.builds(pb.ContentPart, audio=media)
)
chat = st.builds(pb.ChatMessage, role=st.just("user"), parts=st.lists(parts, max_size=3))
tasks = st.builds(
    pb.Task,
    id=st.integers(0, 9),
    text=st.builds(pb.TextTask, messages=st.lists(chat, max_size=3)),
    tags=st.lists(st.text(max_size=3), max_size=2),
) | st.builds(pb.Task, image=st.builds(pb.ImageTask, image=media, mask=media))
results = st.builds(
    pb.Result,
    id=st.integers(0, 9),
    text=st.text(max_size=9),
    images=st.lists(st.builds(pb.Image, png=long_bytes), max_size=3),
    embeddings=st.lists(
        st.builds(pb.Embedding, values=st.lists(st.just(0.5), max_size=payload.LONG)), max_size=2
    ),
    logprobs=st.lists(
        st.builds(pb.TokenLogprobs, token=st.builds(pb.TokenLogprob, bytes=long_bytes)), max_size=2
    ),
)
ASIDE = st.sampled_from([(), (8, 9, 10, 11, 12), (12, 13), (12,), (21,), (1, 4)])
FILLER = pb.Result(text="x" * payload.SURELY_CHEAP).SerializeToString()


def split_by_python(form: type[Message], data: bytes, aside: tuple[int, ...]) -> bytes | None:
    try:
        message, pieces = payload.split(form, data, aside)
    except DecodeError:
        return None
    read = encoded(message)
    return struct.pack(">I", len(read)) + read + b"".join(pieces)


@given(tasks | results, ASIDE, st.binary(max_size=20) | fields(), st.data())
@settings(few, max_examples=60)
def test_large_payloads_are_split_as_by_python(
    codec: LispCodec,
    message: Message,
    aside: tuple[int, ...],
    noise: bytes,
    data: st.DataObject,
) -> None:
    form, written = type(message), message.SerializeToString()
    at = data.draw(st.integers(0, len(written)))
    # Number 127 is a field that nobody knows.
    filler = b"\xfa\x07" + FILLER[1:]
    for large in (written, written + filler, written[:at] + noise + written[at:] + filler):
        expected = split_by_python(form, large, aside)
        try:
            found = codec.ask("s", form, bytes([len(aside), *aside]) + large)
        except MalformedError:
            found = None
        assert found == expected
        try:
            expected = encoded(payload.decode(form, large))
        except DecodeError:
            expected = None
        try:
            found = codec.ask("b", form, large)
        except MalformedError:
            found = None
        assert found == expected


@pytest.mark.parametrize(
    "message",
    [
        pb.Result(images=[pb.Image()] * (2 * payload.MAX_FIELDS)),
        pb.Task(text=pb.TextTask(messages=[pb.ChatMessage()] * (2 * payload.MAX_FIELDS))),
        pb.Task(embed=pb.EmbedTask(inputs=[""] * (2 * payload.MAX_FIELDS))),
        pb.Task(text=pb.TextTask(sampling=pb.Sampling(logit_bias=dict.fromkeys(range(7000), 1.0)))),
    ],
    ids=["images", "messages", "inputs", "bias"],
)
def test_too_many_fields_at_any_depth_are_not_decoded(codec: LispCodec, message: Message) -> None:
    large = message.SerializeToString() + FILLER
    with pytest.raises(MalformedError, match="too many fields"):
        codec.ask("b", type(message), large)
    with pytest.raises(MalformedError, match="too many fields"):
        codec.ask("s", type(message), b"\x00" + large)


def test_large_messages_of_few_fields_are_decoded(codec: LispCodec) -> None:
    for message in (
        pb.Result(id=1, images=[pb.Image(png=bytes(1 << 20))] * 10, tokens=range(50_000)),
        pb.Result(embeddings=[pb.Embedding(values=[0.5] * 100)] * 2048),
    ):
        large = message.SerializeToString()
        assert codec.ask("b", type(message), large) == large


@many
@given(
    st.lists(fields(), max_size=4).map(b"".join) | tasks.map(lambda task: task.SerializeToString())
)
def test_the_id_is_found_in_what_may_not_be_decoded(codec: LispCodec, data: bytes) -> None:
    assert codec.ask("i", pb.Task, data) == str(payload.id_in(data)).encode()
