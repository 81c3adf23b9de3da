"""What a GGUF file says before its weights begin.

The format is described in docs/gguf.md of github.com/ggml-org/ggml.
The file may come from anybody. What llama.cpp refuses is refused here too,
before a process opens it: sizes that overflow, tensors that lie outside of the
file, keys and tensors that come twice. Vocabularies are passed over: only
their lengths are kept.
"""

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from daiic.bounded_file import open_regular
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.gguf.cursor import Cursor, Truncated
from daiic.worker.models.gguf.types import TENSOR_TYPES
from daiic.worker.models.model_json import shown

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER = LIMITS.gguf_header
MAX_KEYS = LIMITS.gguf_keys
MAX_STRINGS = LIMITS.gguf_strings
MAX_TENSORS = LIMITS.gguf_tensors
MAX_KEPT = LIMITS.template
"""Bytes of a string that is kept; a chat template is the longest that anybody asks for."""
MAX_NUMBERS = 4096
"""Of an array that is kept: one for every layer, for example."""
MAX_NAME = LIMITS.gguf_name
"""Bytes of a key, or of a tensor's name; llama.cpp takes 63 of the latter."""
MAX_DIMENSIONS = 4
ALIGNMENT = 32

_STRING, _ARRAY = 8, 9
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))

Value = int | float | str | list[int | float]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A matrix of weights: its name, type ("Q4_K"), shape, innermost first, and bytes."""

    name: str
    type: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says before its weights.

    `values` are short ones: of long arrays, and of all arrays of strings, only
    `lengths` has the number of elements. `places` has where each key's entry
    begins and ends in the file, `weights_at` where the weights begin.
    """

    values: dict[str, Value]
    lengths: dict[str, int]
    places: dict[str, tuple[int, int]]
    tensors: tuple[Tensor, ...]
    weights_at: int


class _Bad(Exception):
    """The file is damaged or asks for too much; the text goes on after its name."""


def read_header(path: Path) -> Header:
    """Return what the GGUF file `path` says of itself; a vocabulary takes a tenth of a second.

    Raises:
        TaskError: BAD_REQUEST if it is damaged, of another format, or too large.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return _Reader(file, size).header()
        except Truncated:
            reason = (
                "is not a whole GGUF file: it ends too early"
                if size <= MAX_HEADER
                else f"says more of itself than {MAX_HEADER >> 20} MiB, or ends too early"
            )
        except _Bad as error:
            reason = str(error)
    raise TaskError(
        pb.BAD_REQUEST,
        f"{shown(path.name)} {reason}",
        "copy or download it again, or choose another file",
    )


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._size = size
        self._cursor = Cursor(file, min(size, MAX_HEADER))
        self._strings = MAX_STRINGS

    def header(self) -> Header:
        if self._cursor.take(4) != MAGIC:
            raise _Bad("is not a GGUF file")
        (version,) = struct.unpack("<I", self._cursor.take(4))
        if version & 0xFFFF == 0 and version:
            raise _Bad("is a GGUF file for big-endian machines, which workers are not")
        if version not in VERSIONS:
            raise _Bad(f"has version {version} of GGUF; versions 2 and 3 are read")
        tensors, keys = self._cursor.length(), self._cursor.length()
        if tensors > MAX_TENSORS:
            raise _Bad(f"says it has {tensors} tensors; at most {MAX_TENSORS} are read")
        if keys > MAX_KEYS:
            raise _Bad(f"says it has {keys} keys; at most {MAX_KEYS} are read")
        values: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        places: dict[str, tuple[int, int]] = {}
        for _ in range(keys):
            start = self._cursor.place
            key = self._name("key")
            if key in places:
                raise _Bad(f"has the key {shown(key)} twice")
            self._value(key, values, lengths)
            places[key] = start, self._cursor.place
        alignment = values.get("general.alignment", ALIGNMENT)
        if (
            not isinstance(alignment, int)
            or not 0 < alignment <= 1 << 20
            or alignment.bit_count() > 1
        ):
            raise _Bad("has an alignment that is no power of two")
        found = [self._tensor() for _ in range(tensors)]
        start = -(-self._cursor.place // alignment) * alignment
        self._check_places(found, start, alignment)
        return Header(values, lengths, places, tuple(tensor for tensor, _ in found), start)

    def _value(self, key: str, values: dict[str, Value], lengths: dict[str, int]) -> None:
        kind = int(self._number("I"))
        if kind == _STRING:
            text = self._string()
            if text is None:
                lengths[key] = 1
            else:
                values[key] = text
        elif kind == _ARRAY:
            self._array(key, values, lengths)
        else:
            values[key] = self._number(self._scalar(key, kind))

    def _array(self, key: str, values: dict[str, Value], lengths: dict[str, int]) -> None:
        kind, count = int(self._number("I")), self._cursor.length()
        lengths[key] = count
        if kind == _STRING:
            self._strings -= count
            if self._strings < 0:
                raise _Bad(f"has more than {MAX_STRINGS} strings in its arrays")
            self._cursor.skip_strings(count)
            return
        code = self._scalar(key, kind)
        if count > MAX_NUMBERS:
            self._cursor.skip(count * struct.calcsize(f"<{code}"))
        else:
            form = f"<{count}{code}"
            values[key] = list(struct.unpack(form, self._cursor.take(struct.calcsize(form))))

    def _scalar(self, key: str, kind: int) -> str:
        if kind not in _SCALARS:
            raise _Bad(f"has a value of the unknown type {kind} for {shown(key)}")
        return _SCALARS[kind]

    def _number(self, code: str) -> int | float:
        form = f"<{code}"
        number: int | float = struct.unpack(form, self._cursor.take(struct.calcsize(form)))[0]
        return number

    def _string(self) -> str | None:
        """Return the next string; `None` if it is too long to be kept."""
        length = self._cursor.length()
        if length > MAX_KEPT:
            self._cursor.skip(length)
            return None
        return self._cursor.take(length).decode("utf-8", "replace")

    def _name(self, what: str) -> str:
        length = self._cursor.length()
        if length > MAX_NAME:
            raise _Bad(f"has a {what} whose name is {length} bytes long")
        return self._cursor.take(length).decode("utf-8", "replace")

    def _tensor(self) -> tuple[Tensor, int]:
        name = self._name("tensor")
        dimensions = int(self._number("I"))
        if dimensions > MAX_DIMENSIONS:
            raise _Bad(f"has a tensor of {dimensions} dimensions, {shown(name)}")
        shape = struct.unpack(f"<{dimensions}Q", self._cursor.take(8 * dimensions)) or (1,)
        kind, offset = int(self._number("I")), self._cursor.length()
        if kind not in TENSOR_TYPES:
            raise _Bad(f"has weights of the unknown type {kind}, {shown(name)}")
        type_name, together, size = TENSOR_TYPES[kind]
        if shape[0] % together:
            raise _Bad(f"has a tensor of the wrong length for {type_name}, {shown(name)}")
        return Tensor(name, type_name, shape, math.prod(shape) // together * size), offset

    def _check_places(self, found: list[tuple[Tensor, int]], start: int, alignment: int) -> None:
        """Check that every tensor lies in the file, each at its own place."""
        end, names = 0, set()
        for tensor, offset in sorted(found, key=lambda each: each[1]):
            if tensor.name in names:
                raise _Bad(f"has the tensor {shown(tensor.name)} twice")
            names.add(tensor.name)
            if offset % alignment or offset < end:
                raise _Bad(f"has a tensor at a place that is not its own, {shown(tensor.name)}")
            end = offset + tensor.size
        if start + end > self._size and found:
            raise _Bad(
                f"is not whole: it has {self._size} bytes, and its weights end at {start + end}"
            )
