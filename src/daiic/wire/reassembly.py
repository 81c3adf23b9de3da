"""Puts a message together again from its CHUNKs, within a bound of memory."""

from io import BytesIO

from daiic.wire.frames import SMALLEST_CHUNK, Frame
from daiic.wire.messages import CARRIED
from daiic.wire.sequence import SEQUENCE_MASK

ChunkHeader = tuple[int, int, int, int]
"""What all CHUNKs of a message begin with: first sequence, length, chunk size, message type."""


class Reassembly:
    """One message on its way in."""

    __slots__ = (
        "_arrived",
        "_buffer",
        "_count",
        "_length",
        "_missing",
        "_size",
        "header",
        "touched_at",
    )

    def __init__(self, header: ChunkHeader, now: float) -> None:
        """Begin the message whose CHUNKs begin with `header`.

        Raises:
            ValueError: if no sender of ours cuts a message that way.
        """
        _, total, size, message_type = header
        if size < SMALLEST_CHUNK or total <= 0 or message_type not in CARRIED:
            raise ValueError("not a chunked message")
        self.header = header
        self._count = -(-total // size)
        self._length = total
        self._buffer = BytesIO()  # gives `bytes` without copying what it holds
        self._arrived = bytearray(self._count)
        self._missing = self._count
        self._size = size
        self.touched_at = now

    def __len__(self) -> int:
        return self._length

    def add(self, header: ChunkHeader, sequence: int, data: Frame, now: float) -> bool | None:
        """Add one piece: true if it is new, false if known, `None` if it cannot belong."""
        if header != self.header:
            return None
        index = (sequence - header[0]) & SEQUENCE_MASK
        if index >= self._count:
            return None
        start = index * self._size
        if len(data) != min(self._size, self._length - start):
            return None
        if self._arrived[index]:
            return False
        self._arrived[index] = 1
        self._buffer.seek(start)
        self._buffer.write(data)
        self._missing -= 1
        self.touched_at = now
        return True

    def empty(self) -> bool:
        """Return whether no piece is there."""
        return self._missing == self._count

    def complete(self) -> bool:
        """Return whether every piece is there."""
        return not self._missing

    def message(self) -> bytes:
        """Return the message, when complete."""
        return self._buffer.getvalue()
