"""HydraMesh's codec reads and writes, refuses and prints what Python's protobuf does."""

import contextlib
import functools
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daiic.errors import TaskError
from daiic.head.dialect import JSON
from daiic.wire import daiic_pb2 as pb
from daiic.wire import payload
from support.processes.built import CannotBuildError
from support.processes.lisp_codec import LispCodec, MalformedError

FORMS = [getattr(pb, name) for name in pb.DESCRIPTOR.message_types_by_name]

few = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
many = settings(few, max_examples=3000)


@pytest.fixture(scope="module")
def codec() -> Iterator[LispCodec]:
    try:
        codec = LispCodec()
    except CannotBuildError as error:
        pytest.skip(f"hydramesh is not tested: {error}")
    with contextlib.closing(codec):
        yield codec


# ------------------------------------------------------------------- messages

text = st.text(max_size=12) | st.text('abc"\\\n\x1f\x7fäß€😀\u2028', max_size=40)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_UINT32: st.integers(0, 300) | st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 300) | st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 20) | st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: text,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=20),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32) | st.sampled_from([0.0, -0.0, 0.7, 1e-45]),
    FieldDescriptor.TYPE_DOUBLE: st.floats() | st.sampled_from([0.0, -0.0, 1e16, 1e-5, 5e-324]),
}


def value_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Return values that a field can be given when a message is made."""
    if field.message_type is None:
        one = SCALARS[field.type]
    elif field.message_type.GetOptions().map_entry:
        return st.dictionaries(*map(value_of, field.message_type.fields), max_size=3)
    else:
        one = messages(field.message_type)
    return st.lists(one, max_size=2) if field.is_repeated else one


@functools.cache
def messages(descriptor: Descriptor) -> st.SearchStrategy[Any]:
    """Return messages with any of their fields set."""
    form = getattr(pb, descriptor.name)
    return st.fixed_dictionaries(
        {}, optional={field.name: value_of(field) for field in descriptor.fields}
    ).map(lambda fields: form(**fields))


some_message = st.sampled_from(FORMS).flatmap(lambda form: messages(form.DESCRIPTOR))


def encoded(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def printed(message: Message) -> str:
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False)


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


# ------------------------------------------------------------------ strange bytes


def agree(codec: LispCodec, form: type[Message], data: bytes) -> None:
    """Check that both read `data` alike, or that both refuse it."""
    try:
        expected: bytes | None = encoded(form.FromString(data))
    except DecodeError:
        expected = None
    try:
        found: bytes | None = codec.ask("d", form, data)
    except MalformedError:
        found = None
    assert found == expected


def varint(number: int, length: int) -> bytes:
    """Return `number` in at least `length` bytes."""
    encoded = bytearray()
    while number > 0x7F or len(encoded) + 1 < length:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


varints = st.builds(varint, st.integers(0, 40) | st.integers(0, 2**70), st.integers(1, 11))


@st.composite
def fields(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Return something like a field, of any number, with a value of any kind."""
    number, wire_type = draw(st.integers(0, 22)), draw(st.integers(0, 7))
    tag = varint(number << 3 | wire_type, draw(st.sampled_from([1] * 8 + [2, 5, 6])))
    if wire_type == 0:
        return tag + draw(varints)
    if wire_type == 3 and depth < 4:
        end = varint(number << 3 | 4, draw(st.integers(1, 2)))
        return tag + b"".join(draw(st.lists(fields(depth + 1), max_size=2))) + end
    if wire_type == 2:
        inside = b"".join(draw(st.lists(fields(depth + 1), max_size=3))) if depth < 4 else b""
        inside = draw(st.sampled_from([inside, inside, draw(st.binary(max_size=9))]))
        length = len(inside) + draw(st.sampled_from([0] * 9 + [1, -1]))
        return tag + varint(max(length, 0), draw(st.sampled_from([1] * 8 + [2, 5, 6]))) + inside
    return tag + draw(st.binary(min_size=8 if wire_type == 1 else 4, max_size=9))


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


def test_a_length_without_content_takes_no_memory(codec: LispCodec) -> None:
    for size in (2**31 - 1, 2**40, 2**63):
        with pytest.raises(MalformedError):
            codec.ask("d", pb.Result, b"\x42" + varint(size, 1) + b"x")
        with pytest.raises(MalformedError):
            codec.ask("d", pb.Result, b"\x4a" + varint(size, 1) + b"x")


# ------------------------------------------------------------------ strange JSON


def agree_on_json(codec: LispCodec, form: type[Message], text: str) -> None:
    """Check that both read `text` alike, or that both refuse it."""
    reason = ""
    try:
        expected: bytes | None = encoded(json_format.Parse(text, form()))
    except json_format.ParseError as error:
        expected, reason = None, str(error)
    try:
        found: bytes | None = codec.ask("p", form, text.encode())
    except MalformedError as error:
        found = None
        # What is no JSON is told as Python tells it, up to where a string ends.
        if reason.startswith("Failed to load JSON") and not re.search(r"uXXXX|limit", reason):
            assert str(error) == reason.rstrip(".") or "too deep" in str(error)
    assert found == expected, text


numbers = (
    st.text("0123456789_.eE+- \t\u00a0\x1c\x00infaINFA٣", max_size=8).map(json.dumps)
    | st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
    | st.from_regex(r'"[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,4})?"', fullmatch=True)
    | st.integers().map(str)
    | st.floats().map(json.dumps)
)
others = r'true false null [] {} [null] "" "READY" "ready" [1] {"1":1} "\ud800" "x" NaN'
values = numbers | st.sampled_from(others.split(" "))


@many
@given(numbers | values)
@example("1" * 310)
@example("9" * 309)
@example('"' + "0" * 4300 + '1"')
@example("0." + "0" * 400 + "1e400")
@example("9007199254740993." + "0" * 900 + "1")
@example("2.2250738585072011e-308")
@example("3.4028235677973366e38")
@example('"3.4028235677973366e38"')
@example('"1' + "0" * 5000 + '"')
def test_both_read_or_refuse_values_for_every_kind_of_field(codec: LispCodec, value: str) -> None:
    # Python's looks enums up by the low 32 bits of a number that is too large for one.
    if not re.match(r'"?\W*\w{10}', value):
        for item in (value, f"[{value}]"):
            field = "kind" if item is value else "capabilities"
            agree_on_json(codec, pb.ModelStatus, f'{{"{field}":{item}}}')
    for form, field in (
        (pb.ModelStatus, "bytes"),
        (pb.ModelStatus, "progress"),
        (pb.ModelStatus, "rate"),
        (pb.ModelStatus, "name"),
        (pb.ModelStatus, "identity"),
        (pb.Heartbeat, "canDownload"),
        (pb.Media, "data"),
        (pb.Resume, "index"),
        (pb.Constraint, "json"),
        (pb.Sampling, "logitBias"),
    ):
        agree_on_json(codec, form, f'{{"{field}":{value}}}')
    for form, field in ((pb.Resume, "tokens"), (pb.Task, "tags")):
        agree_on_json(codec, form, f'{{"{field}":[{value}]}}')
    agree_on_json(codec, pb.Sampling, f'{{"logitBias":{{"7":{value}}}}}')


@many
@given(st.text("aGk=+/-_! é", max_size=12))
def test_both_read_or_refuse_base64(codec: LispCodec, text: str) -> None:
    agree_on_json(codec, pb.Media, json.dumps({"data": text}))


@many
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_printed_and_read_as_by_python(codec: LispCodec, number: float) -> None:
    for message in (pb.Heartbeat(tokens_per_second=number), pb.Adapter(scale=number)):
        payload = message.SerializeToString()
        assert codec.ask("j", type(message), payload).decode() == printed(message)
    agree_on_json(codec, pb.Heartbeat, printed(pb.Heartbeat(tokens_per_second=number)))


@many
@given(some_message, st.data())
def test_both_read_or_refuse_json_that_was_damaged(
    codec: LispCodec, message: Message, data: st.DataObject
) -> None:
    text = printed(message)
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 2))
        piece = st.sampled_from([*'{}[]",:\\ 0-.eé\n', "\\u00e4", "\\ud83d\\ude00", "null", "[]"])
        text = text[:start] + data.draw(piece) + text[end:]
    agree_on_json(codec, type(message), text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '""',
        "5",
        "null",
        "\ufeff{}",
        " {} ",
        "{} x",
        '{"id":1,"id":2}',
        '{"deadlineMs":1,"deadline_ms":2}',
        '{"resume":{"index":1},"resume":{"text":"a"}}',
        '{"text":{},"image":{}}',
        '{"text":{},"image":null}',
        '{"image":null,"text":{"topP":1}}',
        '{"text":{"topP":1,"top_p":2}}',
        '{"text":{"topP":1,"top_p":null}}',
        '{"text":{"toolChoice":{"mode":"NONE","name":"x"}}}',
        '{"text":{"toolChoice":{"mode":0}}}',
        '{"text":{"constraint":{"json":false}}}',
        '{"text":{"sampling":{"logitBias":{"5":1,"5.0":2," 5":3}}}}',
        '{"text":{"sampling":{"logitBias":{"5":1},"logit_bias":{"6":1}}}}',
        '{"tags":["a"],"tags":["b"]}',
        '{"status":[]}',
        '{"resume":["index"]}',
        '{"worker_id":"a","workerId":null}',
        '{"x":1}',
        '{"work":1}',
        '{"[a.b]":1}',
        '{"model":"\\ud83d\\ude00\\ud83d"}',
        '{"model":"\\ud83d\\u0041"}',
        '{"model":"\\ude00\\ud83d"}',
        '{"model":"\\u00g0"}',
        '{"model":"\x7f\\/\\b\\f\\n\\r\\t"}',
        '{"model":"\t"}',
        "[" * 10000,
        '{"text":' * 10000,
    ],
    ids=lambda text: text[:50],
)
def test_both_read_or_refuse_json_with(codec: LispCodec, text: str) -> None:
    agree_on_json(codec, pb.Task, text)


def test_a_reason_says_where_json_is_wrong(codec: LispCodec) -> None:
    for text in (
        '{"text":{"maxToken":5}}',
        '{"resume":{"model":{"weight":""}}}',
        '{"text":{},"image":{}}',
        '{"deadlineMs":true}',
        '{"resume":{"tokens":[1,null]}}',
        '{"stream":1}',
        '{"text":{"toolChoice":{"mode":"never"}}}',
    ):
        with pytest.raises(TaskError) as expected:
            JSON.read(text.encode())
        with pytest.raises(MalformedError) as found:
            codec.ask("p", pb.Task, text.encode())
        if "acceptable" not in str(expected.value):
            assert str(found.value) in str(expected.value)
        assert "Task" in str(found.value)


def test_large_json_has_a_bound_of_values_and_none_of_text(codec: LispCodec) -> None:
    long = json.dumps({"text": {"prompt": "x" * (1 << 20)}}).encode()
    assert codec.ask("p", pb.Task, long) == JSON.read(long)[0].SerializeToString()
    for count in (19_997, 19_998):
        many = json.dumps({"tags": ["x"] * count, "model": "x" * (1 << 16)}).encode()
        try:
            expected = JSON.read(many)[0].SerializeToString()
        except TaskError:
            with pytest.raises(MalformedError, match="too many values"):
                codec.ask("p", pb.Task, many)
        else:
            assert codec.ask("p", pb.Task, many) == expected


@pytest.mark.parametrize("value", ["9" * (1 << 20), "1e" + "9" * (1 << 20), "0." + "7" * (1 << 20)])
def test_long_numbers_cost_no_more_than_their_length(codec: LispCodec, value: str) -> None:
    for field in ("bytes", "rate", "kind"):
        agree_on_json(codec, pb.ModelStatus, f'{{"{field}":"{value}"}}')
        with contextlib.suppress(MalformedError):
            codec.ask("p", pb.ModelStatus, f'{{"{field}":{value}}}'.encode())


# -------------------------------------------------------------- bounds of payloads

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
@settings(few, max_examples=500)
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
