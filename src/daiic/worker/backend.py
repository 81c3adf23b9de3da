"""Which cards or processor the worker computes on, and how much memory they have."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from daiic.service.settings import SettingsError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.devices import Device

BackendSetting = Literal["auto", "cuda", "rocm", "vulkan", "cpu"]

VULKAN = "Vulkan"
"""How llama.cpp calls its cards; a number follows."""

_REMEDIES = {
    "cuda": (
        "check that `nvidia-smi` lists the GPU and that this is a CUDA build of torch,"
        ' or set backend = "auto"'
    ),
    "rocm": (
        "check that `rocminfo` lists the GPU, that this user may open /dev/kfd, and that this is"
        ' a ROCm build of torch, or set backend = "auto"'
    ),
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes in all, and those not in use."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card, by its `index` in its library's list.

    `pci_address` is where it is, "0000:03:00.0", if that is known. `listed` is the memory of a
    card that torch does not know, before models were loaded.
    """

    index: int
    name: str
    pci_address: str = ""
    listed: Memory | None = None

    def memory(self) -> Memory:
        """The card's own memory, as its driver sees it."""
        if self.listed is not None:
            return self.listed
        free, total = torch.cuda.mem_get_info(self.index)
        return Memory(total, free)


@dataclass(frozen=True, slots=True)
class Backend:
    """What is computed on; `kind` is what heartbeats call it and `name` is for people.

    `device` is where torch puts what does not go over several of the `cards`.
    """

    kind: pb.Backend
    device: torch.device
    name: str
    cards: tuple[Card, ...] = ()

    @property
    def is_gpu(self) -> bool:
        """Whether torch computes on memory of a card."""
        return self.device.type == "cuda"

    def on_card(self, number: int) -> "Backend":
        """Return this backend as it is with its card `number` alone."""
        card = self.cards[number]
        device = torch.device("cuda", card.index) if self.is_gpu else self.device
        return replace(self, device=device, name=card.name, cards=(card,))


def ram() -> Memory:
    """The machine's memory; free is what can be had without swapping."""
    memory = psutil.virtual_memory()
    return Memory(memory.total, memory.available)


def choose(
    setting: BackendSetting, listed: Sequence[Device] = (), gpus: Sequence[str] = ()
) -> Backend:
    """Return what `setting` allows; "auto" takes torch's cards, else Vulkan's, else the CPU.

    `listed` are the cards of llama.cpp, and `gpus` those of the settings.

    Raises:
        SettingsError: if the setting names a kind of GPU that cannot be used here.
    """
    found = _gpu()
    if setting == "vulkan" or (setting == "auto" and found is None):
        cards = _vulkan_cards(listed)
        if cards and not all(gpu.isdecimal() for gpu in gpus):
            raise SettingsError(
                "gpus names cards that Vulkan does not know: name them by their numbers in"
                " `vulkaninfo --summary`"
            )
        if cards:
            return Backend(pb.VULKAN, torch.device("cpu"), names(cards), cards)
        if setting == "vulkan":
            raise SettingsError(
                'backend = "vulkan": `llama-server --list-devices` lists no card of Vulkan;'
                " install a llama.cpp with Vulkan and the card's driver, check that this user may"
                ' open /dev/dri, or set backend = "auto"'
            )
    if setting == "cpu" or (setting == "auto" and found is None):
        return Backend(pb.CPU, torch.device("cpu"), _processor_name())
    if found is None or setting not in ("auto", found):
        raise SettingsError(
            f'backend = "{setting}": torch {torch.__version__} finds no such device;'
            f" {_REMEDIES[setting]}"
        )
    kind = pb.ROCM if found == "rocm" else pb.CUDA
    cards = _cards()
    return Backend(kind, torch.device("cuda", cards[0].index), names(cards), cards)


def names(cards: Iterable[Card]) -> str:
    """Return the names of `cards` for people: "2 x A GPU, Another GPU"."""
    counted = Counter(card.name for card in cards)
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counted.items())


def _gpu() -> Literal["cuda", "rocm"] | None:
    if not torch.cuda.is_available():
        return None
    return "rocm" if torch.version.hip else "cuda"


def _vulkan_cards(listed: Iterable[Device]) -> tuple[Card, ...]:
    return tuple(
        Card(
            int(device.name.removeprefix(VULKAN)),
            device.description,
            listed=Memory(device.total, device.free),
        )
        for device in listed
        if device.name.startswith(VULKAN)
    )


def _cards() -> tuple[Card, ...]:
    """Return torch's cards; those in a processor, which share its RAM, only if there are no others.

    They would have a share of the models, and be the slowest.
    """
    properties: list[Any] = [  # their types leave out where they are
        torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())
    ]
    cards = [
        Card(index, torch.cuda.get_device_name(index), _pci_address(found))
        for index, found in enumerate(properties)
    ]
    own = [card for card in cards if not getattr(properties[card.index], "is_integrated", False)]
    return tuple(own or cards)


def _pci_address(found: Any) -> str:
    if not hasattr(found, "pci_domain_id"):
        return ""
    return f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return "CPU"
