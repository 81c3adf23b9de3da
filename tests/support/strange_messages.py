"""Messages of every kind for property tests, and bytes that are like some."""

import functools
import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from daiic.wire import daiic_pb2 as pb
from support.processes.lisp_codec import LispCodec, MalformedError

FORMS = [getattr(pb, name) for name in pb.DESCRIPTOR.message_types_by_name]
MOST = 3 + max(field.number for form in FORMS for field in form.DESCRIPTOR.fields)
"""The numbers of fields go up to it, with some that no message has."""

few = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], database=None)
many = settings(few, max_examples=300)

text = st.text(max_size=12) | st.text('abc"\\\n\x1f\x7fäß€😀\u2028', max_size=40)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_INT32: st.integers(-2, 300) | st.integers(-(2**31), 2**31 - 1),
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
    number, wire_type = draw(st.integers(0, MOST)), draw(st.integers(0, 7))
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
