"""What `daiic doctor` looks at on this machine: GPUs, drivers, memory, UDP buffers."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from daiic.cli.findings import Finding
from daiic.cli.status import size

NVIDIA = "0x10de"
AMD = "0x1002"
DISPLAY_CLASS = "0x03"
"""PCI base class of display controllers (PCI Code and ID Assignment, base class 03h)."""

ENOUGH_DISK = 20 << 30
ENOUGH_UDP_BUFFER = 4 << 20


def check_machine(root: Path = Path("/")) -> Iterator[Finding]:
    """Yield a finding for each part of the machine; `root` holds /sys, /proc and /dev."""
    vendors = gpu_vendors(root)
    if NVIDIA in vendors:
        yield _nvidia(root)
    if AMD in vendors:
        yield _amd(root)
    if not vendors & {NVIDIA, AMD}:
        yield Finding("note", "GPU", "no NVIDIA or AMD GPU found: workers here run on the CPU")
    yield _memory()
    yield _disk()
    yield _udp_buffer(root)


def gpu_vendors(root: Path = Path("/")) -> set[str]:
    """Return the PCI numbers of the vendors of this machine's GPUs, such as `NVIDIA`."""
    vendors = set()
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            if (device / "class").read_text().startswith(DISPLAY_CLASS):
                vendors.add((device / "vendor").read_text().strip())
        except OSError:
            continue
    return vendors


def _nvidia(root: Path) -> Finding:
    version = root / "proc/driver/nvidia/version"
    if not version.exists():
        return Finding(
            "problem",
            "NVIDIA driver",
            "there is an NVIDIA GPU, but its driver is not loaded",
            'on NixOS: services.xserver.videoDrivers = [ "nvidia" ] and hardware.graphics.enable; '
            "elsewhere install your distribution's NVIDIA driver and reboot",
        )
    control = root / "dev/nvidiactl"
    if not os.access(control, os.R_OK | os.W_OK):
        return Finding(
            "problem",
            "NVIDIA driver",
            f"{control} cannot be opened by this user",
            "run as a user with access to the GPU (often the group video), or check the "
            "container's --gpus or --device options",
        )
    return Finding("ok", "NVIDIA driver", version.read_text().splitlines()[0])


def _amd(root: Path) -> Finding:
    if not (root / "sys/module/amdgpu").exists():
        return Finding(
            "problem",
            "AMD driver",
            "there is an AMD GPU, but the amdgpu driver is not loaded",
            "on NixOS: hardware.amdgpu.kernelModule.inInitrd = true; elsewhere: modprobe amdgpu",
        )
    kfd = root / "dev/kfd"
    if not kfd.exists():
        return Finding(
            "warning",
            "AMD driver",
            f"amdgpu is loaded but {kfd} is missing: this kernel has no ROCm compute support",
            "use a kernel with HSA_AMD, or run the worker with backend = cpu",
        )
    if not os.access(kfd, os.R_OK | os.W_OK):
        return Finding(
            "problem",
            "AMD driver",
            f"{kfd} cannot be opened by this user",
            "add the user to the groups render and video, and log in again",
        )
    return Finding("ok", "AMD driver", "amdgpu is loaded and /dev/kfd is accessible")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    said = f"{size(memory.available)} of {size(memory.total)} free"
    if memory.available < memory.total / 10:
        return Finding(
            "warning", "memory", said, "stop other programs, or set ram_limit for the worker"
        )
    return Finding("ok", "memory", said)


def _disk() -> Finding:
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    said = f"{size(free)} free for models in {cache}"
    if free < ENOUGH_DISK:
        advice = (
            "free some space, or point cache_dir to a larger disk: a 7B model takes about 15 GB"
        )
        return Finding("warning", "disk", said, advice)
    return Finding("ok", "disk", said)


def _udp_buffer(root: Path) -> Finding:
    try:
        largest = int((root / "proc/sys/net/core/rmem_max").read_text())
    except OSError:
        return Finding("note", "UDP buffers", "net.core.rmem_max cannot be read")
    if largest < ENOUGH_UDP_BUFFER:
        return Finding(
            "note",
            "UDP buffers",
            f"net.core.rmem_max is {size(largest)}: large results may need retransmission",
            f"sysctl net.core.rmem_max={ENOUGH_UDP_BUFFER} (the NixOS modules set it)",
        )
    return Finding("ok", "UDP buffers", f"net.core.rmem_max is {size(largest)}")
