"""Layouts of the transport's own payloads: SACK, CHUNK and BATCH.

They are fixed-width fields like the header, not Protocol Buffers: every
datagram of a large message pays for them.
"""

import struct
from collections.abc import Iterable, Iterator

from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType
from daiic.wire.sequence import distance, following

SACK_RANGE = struct.Struct(">II")
MAX_SACK_RANGES = 64

CHUNK_HEADER = struct.Struct(">IIHB")
"""first sequence u32, message length u32, chunk size u16, message type u8"""
CHUNK_OVERHEAD = HEADER_SIZE + CHUNK_HEADER.size
SMALLEST_CHUNK = 256

Range = tuple[int, int]
Frame = bytes | memoryview


def ranges_of(sequences: Iterable[int]) -> list[Range]:
    """Fold sequence numbers into inclusive ranges, ascending but for the wrap."""
    ranges: list[Range] = []
    start = end = -1
    for sequence in sorted(set(sequences)):
        if start >= 0 and sequence == end + 1:
            end = sequence
            continue
        if start >= 0:
            ranges.append((start, end))
        start = end = sequence
    if start >= 0:
        ranges.append((start, end))
    return ranges


def encode_sack(ranges: Iterable[Range], timestamp: int) -> bytes:
    """Return a SACK message; without ranges it only says that the peer is there."""
    payload = b"".join(SACK_RANGE.pack(start, end) for start, end in ranges)
    return HEADER.pack(MessageType.SACK, 0, timestamp, len(payload)) + payload


def decode_sack(payload: Frame) -> list[Range] | None:
    """Return the ranges of a SACK's payload, or `None` if it is malformed."""
    if len(payload) % SACK_RANGE.size or len(payload) > MAX_SACK_RANGES * SACK_RANGE.size:
        return None
    return list(SACK_RANGE.iter_unpack(payload))


def encode_chunk(
    first: int, index: int, message_type: int, message: memoryview, size: int, timestamp: int
) -> bytes:
    """Return the CHUNK with number `index` of `message`, cut into pieces of `size` bytes."""
    data = message[index * size : (index + 1) * size]
    return b"".join(
        (
            HEADER.pack(
                MessageType.CHUNK,
                following(first, index),
                timestamp,
                CHUNK_HEADER.size + len(data),
            ),
            CHUNK_HEADER.pack(first, len(message), size, message_type),
            data,
        )
    )


def split_batch(payload: Frame) -> Iterator[tuple[int, int, int, Frame]] | None:
    """Yield type, sequence, timestamp and payload of each message in a BATCH.

    Returns `None` if the lengths do not add up; then nothing of it counts.
    """
    messages = []
    position, end = 0, len(payload)
    while position < end:
        if end - position < HEADER_SIZE:
            return None
        message_type, sequence, timestamp, length = HEADER.unpack_from(payload, position)
        start = position + HEADER_SIZE
        position = start + length
        if position > end or message_type == MessageType.BATCH:
            return None
        messages.append((message_type, sequence, timestamp, payload[start:position]))
    return iter(messages)


def pack(frames: Iterable[bytes], room: int, timestamp: int) -> Iterator[bytes]:
    """Put messages together into datagrams of at most `room` bytes.

    A message alone in its datagram stays as it is; several share a BATCH.
    """
    waiting: list[bytes] = []
    size = HEADER_SIZE
    for frame in frames:
        if waiting and size + len(frame) > room:
            yield _batch(waiting, timestamp)
            waiting = []
            size = HEADER_SIZE
        waiting.append(frame)
        size += len(frame)
    if waiting:
        yield _batch(waiting, timestamp)


def _batch(frames: list[bytes], timestamp: int) -> bytes:
    if len(frames) == 1:
        return frames[0]
    payload = b"".join(frames)
    return HEADER.pack(MessageType.BATCH, 0, timestamp, len(payload)) + payload


def covered(ranges: Iterable[Range], sequences: Iterable[int]) -> list[int]:
    """Return those of `sequences` that lie in one of `ranges`."""
    bounds = [(start, distance(start, end)) for start, end in ranges]
    return [s for s in sequences if any(distance(start, s) <= span for start, span in bounds)]
