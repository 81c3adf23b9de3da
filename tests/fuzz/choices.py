"""Choices made of bytes, so that who mutates the bytes, a seed or a fuzzer, makes other choices."""

import random
from collections.abc import Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    5,
    1 << 70,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x",
    "a\0b",
    "\x1b[31m",
    "\ud800",
    "../../outside/model.safetensors",
    "/etc/passwd",
    "x" * 300,
]


class Choices:
    """Takes its bytes one after the other; when there are none left, it takes the first choice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number from 0, smaller than `below`."""
        value = 0
        for _ in range((below - 1).bit_length() // 8 + 1):
            value = value << 8 | (self._data[self._at] if self._at < len(self._data) else 0)
            self._at += 1
        return value % below

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of `items`."""
        return items[self.number(len(items))]

    def raw(self, most: int = 64) -> bytes:
        """Return up to `most` bytes as they come."""
        length = self.number(most)
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def value(self, keys: Sequence[str], words: Sequence[Any], depth: int = 3) -> Any:
        """Return a JSON value, its objects with some of `keys`, its scalars often of `words`."""
        kind = self.number(8)
        if kind < 3:
            return self.pick(words)
        if kind < 5 or not depth:
            return self.pick(SCALARS)
        if kind == 5:
            return [self.value(keys, words, depth - 1) for _ in range(self.number(4))]
        return {self.pick(keys): self.value(keys, words, depth - 1) for _ in range(self.number(5))}


SAMPLES = [random.Random(seed).randbytes(20 * seed) for seed in range(1, 33)]
"""Inputs for targets that make choices of them."""
BYTES = [b"\0", b"\xff", b"\x05\x00", b"\x02"]
"""Words for them: first and last choices, and others."""
