"""Which graphics cards the worker may use: those that the setting `gpus` names.

CUDA, HIP and Vulkan each read from the environment which cards there are for
them, when they are first used. So this comes before torch is imported, and
holds for child processes too.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daiic.service.settings import SettingsError
from daiic.worker.cards import amd, nvidia
from daiic.worker.cards.listed import Listed

NONE = "-1"
"""No card, as CUDA and HIP understand it."""
_PCI_ADDRESS = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])")


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one vendor's cards are found, and named in its `variable`."""

    name: str
    backend: str
    variable: str
    listed: Callable[[], list[Listed]]
    by_uuid: bool


VENDORS = (
    Vendor("NVIDIA", "cuda", "CUDA_VISIBLE_DEVICES", nvidia.listed, by_uuid=True),
    Vendor("AMD", "rocm", "HIP_VISIBLE_DEVICES", amd.listed, by_uuid=False),
)
VULKAN = "GGML_VK_VISIBLE_DEVICES"


def visible(
    gpus: Sequence[str], backend: str, vendors: Sequence[Vendor] = VENDORS
) -> dict[str, str]:
    """Return what goes into the environment so that only `gpus` are used; may block.

    `backend` is the setting. A number means a vendor's card at that place in
    `nvidia-smi` or `rocm-smi`, or Vulkan's in `vulkaninfo --summary`. Nothing is
    returned for no `gpus`, which are all.

    Raises:
        SettingsError: if one of them is not there, or is named twice.
    """
    if not gpus:
        return {}
    asked = [vendor for vendor in vendors if backend in ("auto", vendor.backend)]
    there = {vendor.variable: vendor.listed() for vendor in asked}
    numbers = all(gpu.isdecimal() for gpu in gpus)
    chosen: dict[str, list[Listed]] = {variable: [] for variable in there}
    for gpu in gpus:
        found = [
            (variable, card)
            for variable, cards in there.items()
            for card in cards
            if _names(gpu, card)
        ]
        for variable, card in found:
            if card in chosen[variable]:
                raise SettingsError(
                    f'gpus names the card "{gpu}" twice, which is not valid: name each card once'
                )
            chosen[variable].append(card)
        if not found and (any(there.values()) or not numbers or backend in ("cuda", "rocm")):
            raise _not_there(gpu, asked, there)
    environment = {
        vendor.variable: ",".join(
            card.uuid if vendor.by_uuid else str(card.index) for card in chosen[vendor.variable]
        )
        or NONE
        for vendor in asked
        if there[vendor.variable]
    }
    if numbers and backend in ("auto", "vulkan"):
        environment[VULKAN] = ",".join(str(int(gpu)) for gpu in gpus)
    return environment


def _names(gpu: str, card: Listed) -> bool:
    if gpu.isdecimal():
        return int(gpu) == card.index
    wanted = gpu.lower()
    return wanted == card.uuid.lower() or _address(wanted) == card.pci_address


def _address(text: str) -> str:
    """Return a PCI address as sysfs writes it, "0000:03:00.0"; "" if it is none."""
    found = _PCI_ADDRESS.fullmatch(text)
    return f"{int(found[1] or '0', 16):04x}:{found[2]}" if found else ""


def _not_there(gpu: str, asked: Sequence[Vendor], there: dict[str, list[Listed]]) -> SettingsError:
    if not asked:
        return SettingsError(
            f'gpus names "{gpu}", which Vulkan does not know: name cards by their numbers in'
            " `vulkaninfo --summary`"
        )
    known = [
        f"{card.index} ({vendor.name}, {card.uuid}, {card.pci_address})"
        for vendor in asked
        for card in there[vendor.variable]
    ]
    vendors = " or ".join(vendor.name for vendor in asked)
    if not known:
        return SettingsError(
            f'gpus names "{gpu}", but the drivers list no card of {vendors}: check that the'
            " driver is loaded, or leave out gpus"
        )
    return SettingsError(
        f'gpus names "{gpu}", which is not a card of this machine; there are: {"; ".join(known)}'
    )
