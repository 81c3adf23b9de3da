"""What a worker and a rank, or two workers, say to each other: a length, a kind, and content."""

import asyncio
import struct
from typing import TypeVar

import msgspec

HEADER = struct.Struct(">Ic")
MOST = 64 << 20
"""Bytes of a frame; tasks are smaller."""

BEGIN, TOLD, TASK, CANCEL, RESULT, ERROR = b"b", b"s", b"t", b"c", b"r", b"e"
NONCE, ASK = b"n", b"a"

Message = TypeVar("Message", bound=msgspec.Struct)


class FrameError(Exception):
    """Something was said that nobody says here."""


def packed(kind: bytes, content: bytes) -> bytes:
    """Return a frame."""
    return HEADER.pack(len(content), kind) + content


async def read(reader: asyncio.StreamReader, most: int = MOST) -> tuple[bytes, bytes]:
    """Return the kind and the content of the next frame.

    Raises:
        EOFError: if there is none.
        FrameError: if it is longer than `most` bytes.
        OSError: if the connection fails.
    """
    length, kind = HEADER.unpack(await reader.readexactly(HEADER.size))
    if length > most:
        raise FrameError(f"a frame of {length} bytes")
    return kind, await reader.readexactly(length)


async def read_as(
    reader: asyncio.StreamReader, kind: bytes, message: type[Message], most: int = MOST
) -> Message:
    """Return the next frame, which must be a `message` of this `kind`; errors are those of `read`.

    Raises:
        FrameError: also if it is anything else.
    """
    said, content = await read(reader, most)
    if said != kind:
        raise FrameError(f"a frame of the kind {said!r}, not {kind!r}")
    return decoded(content, message)


def decoded(content: bytes, message: type[Message]) -> Message:
    """Return the `message` that `content` is.

    Raises:
        FrameError: if it is anything else.
    """
    try:
        return msgspec.json.decode(content, type=message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(str(error)) from None
