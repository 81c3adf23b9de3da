"""How much memory a model may take, as measured when it is loaded, and again when it needs more."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Bytes of the accelerator's memory and of RAM, for weights, caches and work together.

    On a backend without an accelerator `vram_bytes` is 0. `again` measures what
    the model, once it is loaded, may take beside what it has; `None` if nobody can.
    `cards` are the bytes of each card of the backend, in its order; `vram_bytes` in all.
    """

    vram_bytes: int
    ram_bytes: int
    again: "Callable[[], MemoryBudget] | None" = field(default=None, compare=False, repr=False)
    cards: tuple[int, ...] = ()

    def in_ram(self) -> "MemoryBudget":
        """Return what there is for a model that cannot use the cards."""
        again = self.again
        return MemoryBudget(0, self.ram_bytes, None if again is None else lambda: again().in_ram())

    def on_card(self, number: int) -> "MemoryBudget":
        """Return what there is for a model that lies on the backend's card `number` alone."""
        again = self.again
        return MemoryBudget(
            self.cards[number],
            self.ram_bytes,
            None if again is None else lambda: again().on_card(number),
            (self.cards[number],),
        )
