"""Which cards a model lies on, and how vLLM is told: every card has an equal part of each layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, Card
from daiic.worker.cards import amd, nvidia
from daiic.worker.cards.listed import Listed
from daiic.worker.memory.budget import MemoryBudget

_LISTED: Mapping[int, Callable[[], Sequence[Listed]]] = {
    pb.CUDA: nvidia.listed,
    pb.ROCM: amd.listed,
}
_VARIABLES: Mapping[int, Sequence[str]] = {
    pb.CUDA: ("CUDA_VISIBLE_DEVICES",),
    pb.ROCM: ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
}


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of one model, each with `room` bytes for it."""

    cards: tuple[Card, ...]
    room: int

    def shares(self, needed: int) -> dict[int, int]:
        """Return the bytes that each takes of `needed`, by the card's index."""
        return {card.index: needed // len(self.cards) for card in self.cards}


def cards_for(backend: Backend, budget: MemoryBudget, heads: int) -> Cards | None:
    """Return the cards for a model with so many attention `heads`; `None` if there are no cards.

    They are as many as share the heads evenly, those with the most room.
    """
    if not backend.is_gpu or not budget.cards:
        return None
    ranked = sorted(
        zip(budget.cards, backend.cards, strict=False), key=lambda one: one[0], reverse=True
    )
    count = next(number for number in range(len(ranked), 0, -1) if heads % number == 0)
    chosen = ranked[:count]
    return Cards(tuple(card for _, card in chosen), chosen[-1][0])


def visible(backend: Backend, cards: Sequence[Card]) -> dict[str, str]:
    """Return what goes into vLLM's environment so that it uses `cards`; may block.

    It takes no UUIDs, and numbers of one order only: that of the driver.
    """
    by_address = {found.pci_address: found.index for found in _LISTED[backend.kind]()}
    numbers = ",".join(str(by_address.get(card.pci_address, card.index)) for card in cards)
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if backend.kind == pb.CUDA else {}
    return order | dict.fromkeys(_VARIABLES[backend.kind], numbers)
