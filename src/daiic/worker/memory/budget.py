"""How much memory a model may take, as measured when it is loaded, and again when it needs more."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Bytes of the accelerator's memory and of RAM, for weights, caches and work together.

    On a backend without an accelerator `vram_bytes` is 0. `again` measures what
    the model, once it is loaded, may take beside what it has; `None` if nobody can.
    """

    vram_bytes: int
    ram_bytes: int
    again: "Callable[[], MemoryBudget] | None" = field(default=None, compare=False, repr=False)
