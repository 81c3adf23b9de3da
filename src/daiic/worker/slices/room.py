"""Where a rank computes, and what memory it may take there."""

from daiic.worker.backend import Backend
from daiic.worker.memory.budget import MemoryBudget


def place_for(backend: Backend, budget: MemoryBudget) -> tuple[str, int]:
    """Return torch's device for a rank, and the bytes of `budget` that it has there.

    That is the card with the most room; a rank does not spread over several.
    """
    if not backend.is_gpu:
        return "cpu", budget.ram_bytes
    if not budget.cards:
        return str(backend.device), budget.vram_bytes
    room = max(budget.cards)
    return f"cuda:{backend.cards[budget.cards.index(room)].index}", room
