"""The cards that llama.cpp can compute on, as `llama-server --list-devices` tells them."""

import re
from dataclasses import dataclass

PROGRAM = "llama-server"
MOST_DEVICES = 64
_LINE = re.compile(r"^ +([A-Za-z]{1,16}\d{1,3}): (.{1,256}) \((\d{1,9}) MiB, (\d{1,9}) MiB free\)$")


@dataclass(frozen=True, slots=True)
class Device:
    """A card by llama.cpp's `name` of it, "Vulkan0"; `total` and `free` are bytes."""

    name: str
    description: str
    total: int
    free: int


def parsed(text: str) -> list[Device]:
    """Return the devices in a list, without what are no cards, such as BLAS."""
    found = (_LINE.match(line) for line in text.splitlines())
    devices = [
        Device(name, description.strip(), int(total) << 20, min(int(free), int(total)) << 20)
        for name, description, total, free in (line.groups() for line in found if line)
    ]
    return devices[:MOST_DEVICES]
