"""Reads Protocol Buffers that others have sent, within a bound of what they may cost.

Two bytes can stand for an empty message that takes fifty in memory, so a
large payload has its fields counted before it is decoded.
"""

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

MAX_FIELDS = 20_000
"""Fields of a large message, those of messages within it included."""

SURELY_CHEAP = 1 << 16
"""Bytes of a message whose fields are not counted."""

Form = TypeVar("Form", bound=Message)


def decode(form: type[Form], payload: bytes) -> Form:
    """Return the message in `payload`.

    Raises:
        DecodeError: if there is none, or it has more than `MAX_FIELDS` fields.
    """
    if len(payload) > SURELY_CHEAP:
        _count(memoryview(payload), form.DESCRIPTOR, MAX_FIELDS)
    return form.FromString(payload)


def _count(data: memoryview, form: Any, left: int) -> int:
    """Return how many fields may still come after those in `data`."""
    position, end = 0, len(data)
    while position < end:
        left -= 1
        if left < 0:
            raise DecodeError("too many fields")
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == 0:
            _, position = _varint(data, position)
        elif wire_type == 1:
            position += 8
        elif wire_type == 5:
            position += 4
        elif wire_type == 2:
            length, position = _varint(data, position)
            field = form.fields_by_number.get(tag >> 3)
            if field is not None and field.type == FieldDescriptor.TYPE_MESSAGE:
                left = _count(data[position : position + length], field.message_type, left)
            position += length
        else:
            raise DecodeError("groups are not known")
    if position != end:
        raise DecodeError("truncated")
    return left


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise DecodeError("malformed number")
