"""Message types and the 17-byte header that opens every datagram.

The header is DCF's: `msg_type` u8, `sequence` u32, `timestamp` u64
(microseconds since the Epoch), `payload_len` u32, all big-endian.
"""

import struct
from enum import IntEnum
from typing import Any

Address = tuple[Any, ...]
"""A socket address as the socket gives it: host, port and, for IPv6, more."""

HEADER = struct.Struct(">BIQI")
HEADER_SIZE = HEADER.size


class MessageType(IntEnum):
    """The `msg_type` values that DAIIC knows; DCF's own below 0x20, ours from there."""

    HEARTBEAT = 0x01
    TASK = 0x02
    RESULT = 0x03
    ACK = 0x06
    PING = 0x07
    PONG = 0x08
    SACK = 0x20
    CHUNK = 0x21
    CANCEL = 0x22
    ERROR = 0x23
    BATCH = 0x24
    BUSY = 0x25


PATH = 0x27
"""What those say to each other who have cables beside the network; others ignore it."""

RELIABLE = frozenset({MessageType.TASK, MessageType.RESULT, MessageType.CANCEL, MessageType.ERROR})
"""Types that are sent again until acknowledged and delivered once."""

CARRIED = RELIABLE | {MessageType.HEARTBEAT}
"""Types that reach the application as events, and that CHUNKs may carry."""

CONTROL = CARRIED - {MessageType.TASK, MessageType.RESULT}
"""Types that never have much to say."""

TRANSPORT = frozenset({MessageType.SACK, MessageType.CHUNK, MessageType.BATCH, MessageType.BUSY})
"""The transport's own types; a peer that sends one of them knows them all."""


def encode(message_type: int, sequence: int, timestamp: int, payload: bytes = b"") -> bytes:
    """Return one message: the header and `payload`.

    `timestamp` is in microseconds since the Epoch; `sequence` is taken as it
    is and must be below 2**32.
    """
    return HEADER.pack(message_type, sequence, timestamp, len(payload)) + payload
