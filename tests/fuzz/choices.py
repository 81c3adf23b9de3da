"""Choices made of bytes, so that who mutates the bytes, a seed or a fuzzer, makes other choices."""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
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


def inputs(count: int, seed: int, longest: int = 600) -> list[bytes]:
    """Return `count` inputs, the same for the same seed."""
    rnd = random.Random(seed)
    return [rnd.randbytes(rnd.randrange(longest)) for _ in range(count)]


def main(about: str, one: Callable[[bytes], None]) -> None:
    """Run `one` by hand: seeded, or with --guided by coverage, when atheris has the other flags."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options, rest = parser.parse_known_args()
    if options.guided:
        import atheris  # not a dependency: `pip install atheris`

        atheris.Setup([sys.argv[0], *rest], one)
        atheris.Fuzz()
    for data in inputs(options.count, options.seed):
        one(data)
    print(f"{options.count} inputs, nothing found")
