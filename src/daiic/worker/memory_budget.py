"""How much memory a model may take, as measured when it is loaded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Bytes of the accelerator's memory and of RAM, for weights, caches and work together.

    On a backend without an accelerator `vram_bytes` is 0.
    """

    vram_bytes: int
    ram_bytes: int
