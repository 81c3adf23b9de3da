"""What the amdgpu driver tells of cards, in sysfs."""

from pathlib import Path

from daiic.bounded_file import read_bounded
from daiic.wire import daiic_pb2 as pb
from daiic.worker.cards.listed import Listed

DEVICES = Path("/sys/bus/pci/devices")
NODES = Path("/sys/class/kfd/kfd/topology/nodes")
MOST = 64
"""Bytes of a file with one number."""
MOST_PROPERTIES = 16 << 10
"""Bytes of what is said of a compute node."""


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


def listed(nodes: Path = NODES) -> list[Listed]:
    """Return the machine's cards in the order of ROCm, which is that of the compute nodes."""
    cards: list[Listed] = []
    for node in sorted(nodes.glob("[0-9]*"), key=lambda node: (len(node.name), node.name)):
        known = _properties(node / "properties")
        if known.get("simd_count", 0) <= 0:  # a processor
            continue
        place = known.get("location_id", 0)
        bus, device, function = place >> 8 & 0xFF, place >> 3 & 0x1F, place & 7
        address = f"{known.get('domain', 0):04x}:{bus:02x}:{device:02x}.{function}"
        unique = known.get("unique_id", 0)
        cards.append(Listed(len(cards), f"GPU-{unique:016x}" if unique else "", address))
    return cards


def _properties(file: Path) -> dict[str, int]:
    try:
        lines = read_bounded(file, MOST_PROPERTIES).decode("ascii", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
