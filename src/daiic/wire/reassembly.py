"""Puts a message together again from its CHUNKs, within a bound of memory."""

from daiic.wire.frames import SMALLEST_CHUNK, Frame
from daiic.wire.messages import CARRIED
from daiic.wire.sequence import distance


class Reassembly:
    """One message on its way in; its whole length is reserved from the start."""

    __slots__ = ("_arrived", "_buffer", "_missing", "_size", "message_type", "touched_at")

    def __init__(self, total: int, size: int, message_type: int, now: float) -> None:
        """Reserve `total` bytes for pieces of `size` bytes each.

        Raises:
            ValueError: if no sender of ours cuts a message that way.
        """
        if size < SMALLEST_CHUNK or total <= 0 or message_type not in CARRIED:
            raise ValueError("not a chunked message")
        count = -(-total // size)
        self.message_type = message_type
        self._buffer = bytearray(total)
        self._arrived = bytearray(count)
        self._missing = count
        self._size = size
        self.touched_at = now

    def __len__(self) -> int:
        return len(self._buffer)

    def fits(self, total: int, size: int, message_type: int) -> bool:
        """Return whether a CHUNK that says this belongs to the same message."""
        return (
            total == len(self._buffer) and size == self._size and message_type == self.message_type
        )

    def add(self, first: int, sequence: int, data: Frame, now: float) -> bool | None:
        """Take in one piece: true if it is new, false if known, `None` if it cannot belong."""
        index = distance(first, sequence)
        if index >= len(self._arrived):
            return None
        start = index * self._size
        end = min(start + self._size, len(self._buffer))
        if end - start != len(data):
            return None
        if self._arrived[index]:
            return False
        self._arrived[index] = 1
        self._buffer[start:end] = data
        self._missing -= 1
        self.touched_at = now
        return True

    def complete(self) -> bool:
        """Return whether every piece is there."""
        return not self._missing

    def message(self) -> bytearray:
        """Return the message; call it once, when complete."""
        return self._buffer
