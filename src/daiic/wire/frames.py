"""Layouts of the transport's own payloads: SACK, CHUNK and BATCH.

They are fixed-width fields like the header, not Protocol Buffers: every
datagram of a large message pays for them.
"""

import struct
from collections.abc import Iterable, Sequence

from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType
from daiic.wire.sequence import distance, following

SACK_RANGE = struct.Struct(">II")
MAX_SACK_RANGES = 64

CHUNK_HEADER = struct.Struct(">IIHB")
"""first sequence u32, message length u32, chunk size u16, message type u8"""
CHUNK_OVERHEAD = HEADER_SIZE + CHUNK_HEADER.size
SMALLEST_CHUNK = 256

_ALONE = frozenset((MessageType.BATCH, MessageType.PING))

Range = tuple[int, int]
Frame = bytes | memoryview


def ranges_of(sequences: Iterable[int]) -> list[Range]:
    """Fold sequence numbers into inclusive ranges in numeric order; none goes past the wrap."""
    ordered = sorted(sequences)
    ranges: list[Range] = []
    start = end = ordered[0] if ordered else 0
    for sequence in ordered:
        if sequence > end + 1:
            ranges.append((start, end))
            start = sequence
        end = sequence
    if ordered:
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
    first: int, index: int, message_type: int, message: Frame, size: int, timestamp: int
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


def split_batch(payload: Frame) -> list[tuple[int, int, int, Frame]] | None:
    """Return type, sequence, timestamp and payload of each message in a BATCH.

    Returns `None` if the lengths do not add up or if there is a message that
    has to travel alone; then nothing of it counts.
    """
    messages = []
    position, end = 0, len(payload)
    while position < end:
        start = position + HEADER_SIZE
        if start > end:
            return None
        message_type, sequence, timestamp, length = HEADER.unpack_from(payload, position)
        position = start + length
        if position > end or message_type in _ALONE:
            return None
        messages.append((message_type, sequence, timestamp, payload[start:position]))
    return messages


def pack(frames: Sequence[bytes], capacity: int, timestamp: int) -> list[bytes]:
    """Put messages, at least one, together into datagrams of at most `capacity` bytes.

    A message alone in its datagram stays as it is; several share a BATCH.
    """
    datagrams: list[bytes] = []
    waiting: list[bytes] = []
    size = HEADER_SIZE
    for frame in frames:
        size += len(frame)
        if waiting and size > capacity:
            datagrams.append(_batch(waiting, timestamp))
            waiting = []
            size = HEADER_SIZE + len(frame)
        waiting.append(frame)
    datagrams.append(_batch(waiting, timestamp))
    return datagrams


def _batch(frames: list[bytes], timestamp: int) -> bytes:
    if len(frames) == 1:
        return frames[0]
    payload = b"".join(frames)
    return HEADER.pack(MessageType.BATCH, 0, timestamp, len(payload)) + payload


def covered(bounds: Range, sequences: Iterable[int]) -> list[int]:
    """Return those of `sequences` that lie in the range `bounds`."""
    start, end = bounds
    span = distance(start, end)
    return [sequence for sequence in sequences if distance(start, sequence) <= span]
