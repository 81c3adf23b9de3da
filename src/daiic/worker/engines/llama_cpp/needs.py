"""How much memory of this machine a GGUF model takes, and with how large a cache."""

from dataclasses import dataclass

from daiic.worker.engines.llama_cpp.arrangement import Arrangement
from daiic.worker.engines.llama_cpp.pool import Pool, pool_within, smallest
from daiic.worker.models.gguf.choice import WORK
from daiic.worker.models.gguf.description import Gguf


@dataclass(frozen=True, slots=True)
class Needs:
    """What `model` needs for `slots` tasks at once, its files and those beside it `files` bytes.

    `draft` guesses ahead for it. With an arrangement, other machines hold parts of it.
    """

    model: Gguf
    draft: Gguf | None
    files: int
    slots: int
    arranged: Arrangement | None

    @property
    def smallest(self) -> Pool:
        """The smallest cache that it is run with."""
        return smallest(self.model, self.slots)

    def cache(self, tokens: int) -> int:
        """Return the bytes of a cache for so many tokens."""
        size = self.model.cache_bytes(tokens, self.slots)
        if self.arranged is not None:
            return size * self.arranged.own_layers // max(self.model.layers, 1)
        if self.draft is not None:
            size += self.draft.cache_bytes(tokens, self.slots)
        return size

    def with_cache(self, tokens: int) -> int:
        """Return the bytes of everything with a cache for so many tokens."""
        files = self.files
        if self.arranged is not None:
            files -= self.model.weight_bytes - self.arranged.own
        return files + WORK + self.cache(tokens)

    def pool_within(self, room: int) -> Pool | None:
        """Return the cache that it gets within `room` bytes for everything, `None` if too few."""
        free = room - self.with_cache(0)
        pool = pool_within(free, self.model, self.slots, self.cache)
        if self.arranged is None or pool is None:
            return pool
        least = self.smallest
        contexts = max(pool.tokens // least.tokens, 1)
        while contexts > 1 and not self.arranged.fits_members(contexts):
            contexts //= 2
        if contexts == 1:
            return least
        tokens = contexts * least.tokens
        is_bounded = pool.is_bounded or tokens < pool.tokens
        return Pool(tokens, min(pool.context, tokens), self.slots, is_bounded)
