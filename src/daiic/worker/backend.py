"""Which device the worker computes on, what it is called, and how much memory it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from daiic.service.settings import SettingsError
from daiic.wire import daiic_pb2 as pb

BackendSetting = Literal["auto", "cuda", "rocm", "cpu"]

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
class Backend:
    """A device; `kind` is what heartbeats call it and `name` is for people.

    `pci_address` is where a GPU is, "0000:03:00.0", if that is known.
    """

    kind: pb.Backend
    device: torch.device
    name: str
    pci_address: str = ""

    @property
    def is_gpu(self) -> bool:
        """Whether the device has memory of its own."""
        return self.device.type == "cuda"

    def vram(self) -> Memory:
        """The device's own memory, as its driver sees it; zeros where it has none."""
        if not self.is_gpu:
            return Memory(0, 0)
        free, total = torch.cuda.mem_get_info(self.device)
        return Memory(total, free)


def ram() -> Memory:
    """The machine's memory; free is what can be had without swapping."""
    memory = psutil.virtual_memory()
    return Memory(memory.total, memory.available)


def choose(setting: BackendSetting) -> Backend:
    """Return the first device that `setting` allows; "auto" takes a GPU if there is one.

    Raises:
        SettingsError: if the setting names a kind of GPU that torch cannot use here.
    """
    found = _gpu()
    if setting == "cpu" or (setting == "auto" and found is None):
        return Backend(pb.CPU, torch.device("cpu"), _processor_name())
    if found is None or setting not in ("auto", found):
        raise SettingsError(
            f'backend = "{setting}": torch {torch.__version__} finds no such device;'
            f" {_REMEDIES[setting]}"
        )
    device = torch.device("cuda", 0)
    kind = pb.ROCM if found == "rocm" else pb.CUDA
    return Backend(kind, device, torch.cuda.get_device_name(device), _pci_address(device))


def _gpu() -> Literal["cuda", "rocm"] | None:
    if not torch.cuda.is_available():
        return None
    return "rocm" if torch.version.hip else "cuda"


def _pci_address(device: torch.device) -> str:
    found: Any = torch.cuda.get_device_properties(device)  # its types leave out where it is
    if not hasattr(found, "pci_domain_id"):
        return ""
    return f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return "CPU"
