"""A graphics card as its driver lists it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """`index` is its place in the driver's list, `pci_address` where it is, "0000:03:00.0"."""

    index: int
    uuid: str
    pci_address: str
