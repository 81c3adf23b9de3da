"""HydraMesh's codec reads and writes, and refuses, what Python's protobuf does."""

import json
import struct
import time

import pytest
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from daiic.wire import daiic_pb2 as pb
from support.processes.lisp_codec import LispCodec, MalformedError
from support.strange_messages import (
    FORMS,
    agree,
    agree_on_json,
    encoded,
    few,
    fields,
    many,
    messages,
    printed,
    some_message,
    varint,
)


@pytest.mark.parametrize("form", FORMS)
@few
@given(st.data())
def test_bytes_and_json_of_every_message_are_pythons(
    codec: LispCodec, form: type[Message], data: st.DataObject
) -> None:
    message = data.draw(messages(form.DESCRIPTOR))
    payload = encoded(message)
    assert codec.ask("d", form, payload) == payload
    assert codec.ask("c", form, payload) == payload
    assert codec.ask("n", form, payload) == struct.pack(">I", len(payload))
    text = codec.ask("j", form, payload).decode()
    if "logitBias" not in text:
        assert text == printed(message)
    # The order of a map's entries is nobody's promise.
    assert json.loads(text, parse_float=str) == json.loads(printed(message), parse_float=str)
    agree_on_json(codec, form, printed(message))


@many
@given(st.sampled_from(FORMS), st.data())
def test_messages_are_merged_as_by_python(
    codec: LispCodec, form: type[Message], data: st.DataObject
) -> None:
    into, other = (data.draw(messages(form.DESCRIPTOR)) for _ in range(2))
    first, second = encoded(into), encoded(other)
    into.MergeFrom(other)
    assert codec.ask("m", form, struct.pack(">I", len(first)) + first + second) == encoded(into)
    assert codec.ask("d", form, first + second) == encoded(form.FromString(first + second))


@many
@given(st.sampled_from(FORMS), st.lists(fields(), max_size=5).map(b"".join))
@example(pb.Cancel, b"\x13" * 100 + b"\x14" * 100)
@example(pb.Cancel, b"\x13" * 101 + b"\x14" * 101)
@example(pb.Cancel, b"\x13\x00\x01\x14")
@example(pb.Sampling, bytes.fromhex("2a0c0805080618011802150000803f"))
@example(pb.ModelStatus, bytes.fromhex("10ffffffff0f520bffffffffffffffffff0105"))
@example(pb.Task, bytes.fromhex("4a021805420218054a022006"))
@example(pb.Task, b"\x32\x03\xed\xa0\x80")
def test_both_read_or_refuse_what_is_like_a_message(
    codec: LispCodec, form: type[Message], data: bytes
) -> None:
    agree(codec, form, data)


@many
@given(some_message, st.data())
def test_both_read_or_refuse_a_message_that_was_damaged(
    codec: LispCodec, message: Message, data: st.DataObject
) -> None:
    damaged = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(damaged)))
        end = start + data.draw(st.integers(0, 2))
        damaged[start:end] = data.draw(st.binary(max_size=2) | fields())
    agree(codec, type(message), bytes(damaged))


@given(st.binary(max_size=60))
@many
def test_both_read_or_refuse_strings_that_may_not_be_utf8(codec: LispCodec, data: bytes) -> None:
    agree(codec, pb.Adapter, b"\x0a" + bytes([len(data)]) + data)


@pytest.mark.parametrize(
    "part",
    [
        pb.Task(resume=pb.Resume(tokens=[5])),
        pb.Task(embed=pb.EmbedTask(inputs=[""])),
        pb.Task(text=pb.TextTask(sampling=pb.Sampling(logit_bias={7: 1}))),
        pb.Task.FromString(bytes.fromhex("820104fa070101")),
    ],
    ids=["numbers", "list", "map", "unknown"],
)
def test_a_message_in_many_parts_costs_no_more_than_in_one(codec: LispCodec, part: pb.Task) -> None:
    data = part.SerializeToString() * 200_000
    began = time.perf_counter()
    assert codec.ask("d", pb.Task, data) == pb.Task.FromString(data).SerializeToString()
    assert time.perf_counter() - began < 10  # some 0.5 s; copied for each part, a minute


def test_parts_of_a_message_are_whole_each(codec: LispCodec) -> None:
    head, tail = b"\x0a\x03ab", b"c"
    for parts in ([head, tail], [b"", head, tail], [head + tail, head, tail]):
        agree(codec, pb.Task, b"".join(b"\x42" + bytes([len(part)]) + part for part in parts))


def test_a_length_without_content_takes_no_memory(codec: LispCodec) -> None:
    for size in (2**31 - 1, 2**40, 2**63):
        with pytest.raises(MalformedError):
            codec.ask("d", pb.Result, b"\x42" + varint(size, 1) + b"x")
        with pytest.raises(MalformedError):
            codec.ask("d", pb.Result, b"\x4a" + varint(size, 1) + b"x")
