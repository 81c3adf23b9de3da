"""Reading a file's beginning piece by piece, never beyond its end or a bound."""

import struct
from typing import BinaryIO

PIECE = 1 << 20
_LENGTH = struct.Struct("<Q")


class Truncated(Exception):
    """What is to be read goes beyond the end of the file, or beyond the bound."""


class Cursor:
    """A place in `file`; nothing is read at or after `end`, in bytes."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file = file
        self._end = end
        self._start = 0
        """Where `_buffer` begins."""
        self._buffer = b""
        self._at = 0
        """Within `_buffer`, or beyond it after something was skipped."""

    @property
    def place(self) -> int:
        """Bytes from the start of the file."""
        return self._start + self._at

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            Truncated: if there are fewer.
        """
        if size > self._end - self.place:
            raise Truncated
        if self._at + size > len(self._buffer):
            self._fill(size)
        taken = self._buffer[self._at : self._at + size]
        if len(taken) < size:
            raise Truncated  # the file has become shorter
        self._at += size
        return taken

    def skip(self, size: int) -> None:
        """Go on by `size` bytes without reading them.

        Raises:
            Truncated: if there are fewer.
        """
        if size > self._end - self.place:
            raise Truncated
        self._at += size

    def length(self) -> int:
        """Return the next 64-bit number."""
        number: int = _LENGTH.unpack(self.take(8))[0]
        return number

    def skip_strings(self, count: int) -> None:
        """Go on by `count` strings, each of which follows its length.

        Raises:
            Truncated: if there are fewer.
        """
        if count > (self._end - self.place) // 8:
            raise Truncated
        unpack = _LENGTH.unpack_from
        while count:
            self.skip(self.length())
            count -= 1
            # Vocabularies have hundreds of thousands of strings.
            buffer, at, last = self._buffer, self._at, len(self._buffer) - 8
            while count and at <= last:
                at += 8 + unpack(buffer, at)[0]
                count -= 1
            self._at = at
            if self.place > self._end:
                raise Truncated

    def _fill(self, size: int) -> None:
        self._start, self._at = self.place, 0
        self._file.seek(self._start)
        self._buffer = self._file.read(min(max(size, PIECE), self._end - self._start))
