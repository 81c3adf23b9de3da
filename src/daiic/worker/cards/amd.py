"""What the amdgpu driver tells of a card, in sysfs."""

from pathlib import Path

from daiic.bounded_file import read_bounded
from daiic.wire import daiic_pb2 as pb

DEVICES = Path("/sys/bus/pci/devices")
MOST = 64
"""Bytes of a file with one number."""


def read(address: str, devices: Path = DEVICES) -> pb.Card | None:
    """Return what is known of the card at the PCI `address`; `None` if it is none of AMD's."""
    folder = devices / address
    total, used = _number(folder / "mem_info_vram_total"), _number(folder / "mem_info_vram_used")
    if total is None or used is None:
        return None
    card = pb.Card(vram=pb.Memory(total=total, free=max(total - used, 0)))
    busy = _number(folder / "gpu_busy_percent")
    if busy is not None:
        card.load = busy / 100
    for sensors in sorted(folder.glob("hwmon/hwmon*"))[:1]:
        temperature = _number(sensors / "temp1_input")  # thousandths of a degree
        if temperature is not None:
            card.temperature = temperature / 1000
        power = _number(sensors / "power1_average")  # millionths of a watt
        if power is None:
            power = _number(sensors / "power1_input")
        if power is not None:
            card.power = power / 1e6
        limit = _number(sensors / "power1_cap")
        if limit is not None:
            card.power_limit = limit / 1e6
    return card


def _number(file: Path) -> int | None:
    try:
        return int(read_bounded(file, MOST))
    except (OSError, ValueError):
        return None
