"""GGUF files byte by byte, for those that a library would not write."""

import struct
from collections.abc import Sequence


def string(text: str) -> bytes:
    """Return `text` as GGUF stores it."""
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def key(name: str, kind: int, content: bytes) -> bytes:
    """Return an entry of the metadata whose value is of the type `kind`."""
    return string(name) + struct.pack("<I", kind) + content


def value(name: str, number: int | str) -> bytes:
    """Return an entry with a whole number, or a text."""
    if isinstance(number, str):
        return key(name, 8, string(number))
    return key(name, 4, struct.pack("<I", number))


def tensor(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    """Return the description of a tensor of the type `kind`."""
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + dimensions + struct.pack("<IQ", kind, offset)


def gguf(
    *entries: bytes,
    version: int = 3,
    keys: int | None = None,
    tensors: int | Sequence[bytes] = (),
    weights: int = 64,
) -> bytes:
    """Return a file with `entries` and `tensors`; it may say that it has other numbers of them."""
    listed = [] if isinstance(tensors, int) else tensors
    count = tensors if isinstance(tensors, int) else len(tensors)
    start = b"GGUF" + struct.pack("<IQQ", version, count, len(entries) if keys is None else keys)
    content = start + b"".join(entries) + b"".join(listed)
    return content + bytes(-len(content) % 32 + weights)
