"""Reads Protocol Buffers that others have sent, within a bound of what they may cost.

Two bytes can stand for an empty message that takes fifty in memory, so a
large payload has its fields counted before it is decoded.

A large payload that is passed on is not decoded and encoded again. `split`
returns what has to be read of it, and the rest as it came. In Protocol Buffers
two encodings one after the other are the encoding of both messages merged, so
the rest followed by the encoding of what was read and changed is the message
with its changes.
"""

from collections.abc import Container, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

MAX_FIELDS = 20_000
"""Fields of a large message, those of messages within it included."""

SURELY_CHEAP = 1 << 16
"""Bytes of a message whose fields are not counted, and that is not split."""

LONG = 1 << 10
"""Bytes and packed floats that are longer are left out of what is read of a large message."""

Form = TypeVar("Form", bound=Message)
Pieces = Sequence[bytes | memoryview]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
TYPE_MESSAGE = FieldDescriptor.TYPE_MESSAGE
ID = 1
_EVERY = range(1, 1 << 29)
_UINT64 = (1 << 64) - 1
TAG, NUMBER = 5, 10
"""Bytes of a varint at most: of a tag or a length, and of any."""


def decode(form: type[Form], payload: bytes) -> Form:
    """Return the message in `payload`.

    Raises:
        DecodeError: if there is none, or it has more than `MAX_FIELDS` fields.
    """
    if len(payload) > SURELY_CHEAP:
        _Outline(payload).of(0, len(payload), form.DESCRIPTOR, within=())
    return form.FromString(payload)


def split(form: type[Form], payload: bytes, aside: Container[int]) -> tuple[Form, Pieces]:
    """Return the message in `payload`, and its fields with the numbers `aside` as they came.

    A small message is returned whole, with nothing aside. In a large one, long
    bytes and packed floats of the fields that are aside are left empty. Clear
    these fields before encoding the message, and put the pieces first.

    Raises:
        DecodeError: as `decode` does.
    """
    if len(payload) <= SURELY_CHEAP:
        return form.FromString(payload), []
    outline = _Outline(payload).of(0, len(payload), form.DESCRIPTOR, within=aside)
    message = form.FromString(payload if outline is None else b"".join(outline))
    pieces: list[bytes | memoryview] = []
    view, position = memoryview(payload), 0
    while position < len(payload):
        number, _, _, end = _field(payload, position, len(payload))
        if number in aside:
            pieces.append(view[position:end])
        position = end
    return message, pieces


def id_in(payload: bytes) -> int:
    """Return the `id` of a task's message that may not be decoded, 0 if none is found.

    It has field number 1 in all of them, and is looked for in the first `MAX_FIELDS` fields.
    """
    position, end = 0, len(payload)
    with suppress(DecodeError):
        for _ in range(MAX_FIELDS):
            if position == end:
                break
            number, wire_type, value, after = _field(payload, position, end)
            if number == ID and wire_type == VARINT:
                return _varint(payload, value, after, NUMBER)[0] & _UINT64
            position = after
    return 0


class _Outline:
    """A message without its long values, made while its fields are counted."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._view = memoryview(payload)
        self._left = MAX_FIELDS

    def of(self, start: int, end: int, form: Any, within: Container[int]) -> Pieces | None:
        """Return the message from `start` to `end` with the long values in fields `within` empty.

        `None` if it has none; errors as of `decode`.
        """
        pieces: list[bytes | memoryview] = []
        payload, known_fields = self._payload, form.fields_by_number
        position = copied = start
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise DecodeError("too many fields")
            began = position
            number, wire_type, value, position = _field(payload, began, end)
            if wire_type != LENGTH:
                continue
            field = known_fields.get(number)
            if field is None:
                continue
            inner: Pieces | None = None
            if field.type == TYPE_MESSAGE:
                inside = _EVERY if number in within else ()
                inner = self.of(value, position, field.message_type, inside)
            elif number in within and _is_left_out(field, position - value):
                inner = []
            if inner is not None:
                pieces += (
                    self._view[copied:began],
                    _encoded(number << 3 | LENGTH),
                    _encoded(sum(map(len, inner))),
                    *inner,
                )
                copied = position
        if copied == start:
            return None
        pieces.append(self._view[copied:end])
        return pieces


def _is_left_out(field: Any, length: int) -> bool:
    """Return whether a value of that length is long, and well-formed whatever is in it."""
    if length <= LONG:
        return False
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return length % 4 == 0
    return bool(field.type == FieldDescriptor.TYPE_BYTES)


def _field(payload: bytes, position: int, end: int) -> tuple[int, int, int, int]:
    """Return number, wire type, and where the value begins and ends, of the field at `position`.

    Raises:
        DecodeError: if there is none.
    """
    tag, position = _varint(payload, position, end, TAG)
    value = position
    wire_type = tag & 7
    if wire_type == LENGTH:
        length, value = _varint(payload, position, end, TAG)
        position = value + length
    elif wire_type == VARINT:
        _, position = _varint(payload, position, end, NUMBER)
    elif wire_type == FIXED64:
        position += 8
    elif wire_type == FIXED32:
        position += 4
    else:
        raise DecodeError("groups are not known")
    if position > end:
        raise DecodeError("truncated")
    if not 8 <= tag < 1 << 32:
        raise DecodeError("malformed field number")
    return tag >> 3, wire_type, value, position


def _varint(payload: bytes, position: int, end: int, longest: int) -> tuple[int, int]:
    """Return the number of at most `longest` bytes at `position`, and where it ends."""
    if position < end and (byte := payload[position]) < 0x80:
        return byte, position + 1
    number = shift = 0
    for at in range(position, min(end, position + longest)):
        byte = payload[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + 1
        shift += 7
    raise DecodeError("malformed number")


def _encoded(number: int) -> bytes:
    """Return a number as a varint."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
