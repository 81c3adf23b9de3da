"""The development shells name the right GPU, say why, and find its driver's libraries."""

import subprocess
from pathlib import Path

import pytest

from nix.evaluation import ROOT

NVIDIA_PCI = ("0x10de", "0x030000")
AMD_PCI = ("0x1002", "0x030200")
AMD_AUDIO = ("0x1002", "0x040300")
GPU_NODE = "cpu_cores_count 0\nsimd_count 128\n"
CPU_NODE = "cpu_cores_count 16\nsimd_count 0\n"


def machine(
    root: Path,
    *,
    files: dict[str, str] | None = None,
    pci: tuple[tuple[str, str], ...] = (),
) -> Path:
    """Make the parts of /proc, /sys, /dev and /usr that are looked at."""
    for number, (vendor, device_class) in enumerate(pci):
        device = root / f"sys/bus/pci/devices/0000:0{number}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(device_class + "\n")
    for path, text in (files or {}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def ask(root: Path, links: Path) -> tuple[str, str, str]:
    """Return what the shell finds: GPU, reason, folder of the driver's libraries."""
    script = (
        f". {ROOT}/pkgs/gpu-detect.sh; daiic_detect_gpu {root}; "
        f'printf "%s\\n%s\\n" "$DAIIC_GPU" "$DAIIC_GPU_REASON"; '
        f"daiic_gpu_library_folder {links} {root}"
    )
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    return done[0], done[1], done[2]


NVIDIA_DRIVER = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Kernel Module  580.95.05  Release\n",
    "dev/nvidiactl": "",
}
AMD_DRIVER = {"dev/kfd": "", "sys/class/kfd/kfd/topology/nodes/1/properties": GPU_NODE}


@pytest.mark.parametrize(
    ("files", "pci", "gpu", "reason"),
    [
        (NVIDIA_DRIVER, (NVIDIA_PCI,), "cuda", "NVIDIA's driver 580.95.05 is loaded."),
        (AMD_DRIVER, (AMD_PCI,), "rocm", "/dev/kfd"),
        (NVIDIA_DRIVER | AMD_DRIVER, (AMD_PCI, NVIDIA_PCI), "cuda", "NVIDIA's driver 580.95.05"),
        ({}, (NVIDIA_PCI,), "cpu", 'services.xserver.videoDrivers = [ "nvidia" ]'),
        ({}, (AMD_PCI,), "cpu", 'boot.kernelModules = [ "amdgpu" ]'),
        ({}, (AMD_AUDIO,), "cpu", "neither an NVIDIA nor an AMD GPU"),
        ({}, (), "cpu", "neither an NVIDIA nor an AMD GPU"),
        (
            {"dev/kfd": "", "sys/class/kfd/kfd/topology/nodes/0/properties": CPU_NODE},
            (AMD_PCI,),
            "cpu",
            "offers no compute node",
        ),
        ({"dev/dxg": "", "usr/lib/wsl/lib/libcuda.so.1": ""}, (), "cuda", "WSL"),
        ({"dev/dxg": ""}, (), "cpu", "neither an NVIDIA nor an AMD GPU"),
    ],
)
def test_gpu_is_named_with_its_reason(
    tmp_path: Path,
    files: dict[str, str],
    pci: tuple[tuple[str, str], ...],
    gpu: str,
    reason: str,
) -> None:
    found, why, _ = ask(machine(tmp_path / "root", files=files, pci=pci), tmp_path / "links")
    assert found == gpu
    assert reason in why


def test_driver_libraries_of_nixos_are_used_where_they_are(tmp_path: Path) -> None:
    files = NVIDIA_DRIVER | {"run/opengl-driver/lib/libcuda.so.1": ""}
    root = machine(tmp_path / "root", files=files)
    assert ask(root, tmp_path / "links")[2] == str(root / "run/opengl-driver/lib")


def test_of_a_systems_libraries_only_the_drivers_are_taken(tmp_path: Path) -> None:
    folder = "usr/lib/x86_64-linux-gnu"
    names = ("libcuda.so.1", "libnvidia-ml.so.1", "libc.so.6")
    root = machine(
        tmp_path / "root", files=NVIDIA_DRIVER | {f"{folder}/{name}": "" for name in names}
    )
    links = tmp_path / "links"
    assert ask(root, links)[2] == str(links)
    assert sorted(link.name for link in links.iterdir()) == ["libcuda.so.1", "libnvidia-ml.so.1"]


def test_a_cpu_needs_no_driver_libraries(tmp_path: Path) -> None:
    assert ask(machine(tmp_path / "root"), tmp_path / "links")[2] == ""
