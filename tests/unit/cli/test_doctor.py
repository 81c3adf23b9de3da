"""`daiic doctor` on machines that these tests make out of files."""

from pathlib import Path

import pytest

from daiic.cli.findings import Finding
from daiic.cli.machine_checks import AMD, NVIDIA, check_machine


class Machine:
    """A root folder with what the kernel shows of its hardware."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def add_display(self, slot: str, vendor: str) -> None:
        self.write(f"sys/bus/pci/devices/{slot}/class", "0x030000\n")
        self.write(f"sys/bus/pci/devices/{slot}/vendor", f"{vendor}\n")

    def finding(self, subject: str) -> Finding | None:
        return next((f for f in check_machine(self.root) if f.subject == subject), None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_machine_without_gpu_is_told_it_works_on_the_cpu(machine: Machine) -> None:
    machine.write("sys/bus/pci/devices/0/class", "0x020000\n")
    machine.write("sys/bus/pci/devices/0/vendor", f"{NVIDIA}\n")
    finding = machine.finding("GPU")
    assert finding is not None
    assert "CPU" in finding.says


def test_nvidia_card_without_driver_is_a_problem_with_advice(machine: Machine) -> None:
    machine.add_display("0000:01:00.0", NVIDIA)
    finding = machine.finding("NVIDIA driver")
    assert finding is not None
    assert finding.level == "problem"
    assert "videoDrivers" in finding.advice


def test_nvidia_card_with_driver_is_fine(machine: Machine) -> None:
    machine.add_display("0000:01:00.0", NVIDIA)
    machine.write("proc/driver/nvidia/version", "NVRM version: 580.95.05\nGCC version\n")
    machine.write("dev/nvidiactl")
    finding = machine.finding("NVIDIA driver")
    assert finding == Finding("ok", "NVIDIA driver", "NVRM version: 580.95.05")


def test_amd_card_without_kfd_may_still_be_a_cpu_worker(machine: Machine) -> None:
    machine.add_display("0000:03:00.0", AMD)
    machine.write("sys/module/amdgpu/version")
    finding = machine.finding("AMD driver")
    assert finding is not None
    assert finding.level == "warning"
    assert "backend = cpu" in finding.advice


def test_both_vendors_in_one_machine_are_both_looked_at(machine: Machine) -> None:
    machine.add_display("0000:01:00.0", NVIDIA)
    machine.add_display("0000:03:00.0", AMD)
    assert machine.finding("NVIDIA driver") is not None
    assert machine.finding("AMD driver") is not None
    assert machine.finding("GPU") is None


def test_small_udp_buffers_come_with_the_command_that_enlarges_them(machine: Machine) -> None:
    machine.write("proc/sys/net/core/rmem_max", "212992\n")
    finding = machine.finding("UDP buffers")
    assert finding is not None
    assert "sysctl net.core.rmem_max=" in finding.advice
