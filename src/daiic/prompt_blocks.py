"""The blocks of a prompt whose hashes are in `Task.prefix`, see docs/cluster.md.

Clients hash them, and heads tell by them how much of a prompt a worker has
read before. Blocks of long prompts are longer, so that few hashes tell of any
prompt to about an eighth of its length.
"""

from collections.abc import Iterator
from itertools import accumulate, chain, repeat

HASH = 8
"""Bytes of a hash."""

_SIZES = chain(repeat(256, 16), *(repeat(256 << doubled, 8) for doubled in range(1, 7)))

ENDS = tuple(accumulate(_SIZES))
"""Where each block ends, in bytes of the prompt; what comes after the last one is not hashed."""


def hashes_in(prefix: bytes) -> tuple[bytes, ...]:
    """Return the hashes of a `Task.prefix` that count; none if it is malformed."""
    if len(prefix) % HASH:
        return ()
    counting = prefix[: HASH * len(ENDS)]
    return tuple(counting[at : at + HASH] for at in range(0, len(counting), HASH))


def blocks(prompt: bytes) -> Iterator[bytes]:
    """Yield the blocks of a prompt in its canonical form; only whole ones."""
    begins = 0
    for end in ENDS:
        if end > len(prompt):
            return
        yield prompt[begins:end]
        begins = end
