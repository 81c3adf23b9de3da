"""The cards that llama.cpp can compute on, as `llama-server --list-devices` tells them."""

import re
import shutil
from dataclasses import dataclass

import structlog

from daiic.worker.engines.llama_cpp.asking import said_by

PROGRAM = "llama-server"
MOST = 64 << 10
"""Bytes of the list that are read."""
MOST_DEVICES = 64
PATIENCE = 60.0
"""Seconds that it may take: drivers are started for it."""
_LINE = re.compile(r"^ +([A-Za-z]{1,16}\d{1,3}): (.{1,256}) \((\d{1,9}) MiB, (\d{1,9}) MiB free\)$")

log = structlog.get_logger()


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


async def listed() -> list[Device]:
    """Return the devices of the llama-server on PATH; none if there is none, or it hangs."""
    program = shutil.which(PROGRAM)
    if program is None:
        return []
    try:
        text = await said_by(program, "--list-devices", most=MOST, patience=PATIENCE)
    except TimeoutError:
        log.warning("llama-server does not tell which cards there are", patience=PATIENCE)
        return []
    except OSError:
        return []
    return parsed(text)
