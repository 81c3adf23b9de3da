"""Which cards hold how much of a GGUF model, and what llama-server is told of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.devices import Device
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.gguf.choice import WORK

if TYPE_CHECKING:
    from daiic.worker.backend import Backend

PREFIX = {pb.CUDA: "CUDA", pb.ROCM: "ROCm", pb.VULKAN: "Vulkan"}
"""llama.cpp's names of cards; a number follows, which is that of `daiic.worker.backend.Card`."""
MOST_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class Placement:
    """`devices` are those to use, `None` where llama-server has no cards to choose from.

    `layers` of the model go to them, `split` among them in these proportions;
    `shares` are the bytes that it takes of each card, by the card's index.
    """

    devices: tuple[str, ...] | None = None
    layers: int = 0
    split: tuple[int, ...] = ()
    shares: Mapping[int, int] = field(default_factory=dict)
    where: str = "ram"

    def arguments(self) -> list[str]:
        """Return what llama-server is started with; nothing where it has no cards."""
        if self.devices is None:
            return []
        if not self.devices:
            return ["--device", "none"]
        arguments = ["--device", ",".join(self.devices), "--gpu-layers", str(self.layers)]
        if len(self.devices) > 1:
            split = ",".join(str(part) for part in self.split)
            arguments += ["--split-mode", "layer", "--tensor-split", split]
        return arguments


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of the backend that llama-server has too, and what is `free` for the model."""

    devices: tuple[str, ...]
    indices: tuple[int, ...]
    free: tuple[int, ...]
    has_others: bool

    @property
    def room(self) -> int:
        """Bytes that the cards have for the model together."""
        return sum(self.free)

    def place(self, needs: int, layers: int) -> Placement:
        """Return where a model that `needs` so many bytes goes, all of it or part of its layers."""
        if not self.room:
            return Placement(() if self.has_others or self.devices else None)
        everything = layers + 1  # what turns the last layer's output into tokens counts as one
        fits = needs <= self.room
        on_cards = everything if fits else everything * self.room // needs
        if not on_cards:
            return Placement(())
        taken = needs * on_cards // everything
        return Placement(
            self.devices,
            MOST_LAYERS if fits else on_cards,
            tuple(max(free >> 20, 1) for free in self.free),
            {
                index: taken * free // self.room
                for index, free in zip(self.indices, self.free, strict=True)
            },
            "gpu" if fits else "gpu+ram",
        )


def cards_for(backend: "Backend", budget: MemoryBudget, listed: Sequence[Device]) -> Cards:
    """Return the cards of `backend` that are among llama-server's `listed` ones."""
    there = {device.name for device in listed}
    usable = [
        (f"{PREFIX.get(backend.kind, '')}{card.index}", card.index, free)
        for card, free in zip(backend.cards, budget.cards, strict=False)
    ]
    usable = [one for one in usable if one[0] in there]
    spare = WORK if len(usable) > 1 else 0
    return Cards(
        tuple(name for name, _, _ in usable),
        tuple(index for _, index, _ in usable),
        tuple(max(free - spare, 0) for _, _, free in usable),
        bool(listed),
    )
