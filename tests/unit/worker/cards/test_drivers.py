"""A card is what its driver tells of it; what the driver does not tell stays unset."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.cards import amd, nvidia
from daiic.worker.cards.listed import Listed

ADDRESS = "0000:03:00.0"


class NVMLError(Exception):
    pass


class FakeNvml:
    """NVML on a machine with one card, which has no power sensor."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        self.has_driver = True
        self.open = 0

    def nvmlInit(self) -> None:
        if not self.has_driver:
            raise NVMLError("driver not loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return "handle"

    def nvmlDeviceGetPciInfo(self, handle: str) -> Any:
        return SimpleNamespace(domain=0, bus=3, device=0)

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return "GPU-aaaa"

    def nvmlDeviceGetHandleByPciBusId(self, address: bytes) -> str:
        if address != ADDRESS.encode():
            raise NVMLError("not found")
        return "handle"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(total=24 << 30, free=20 << 30, used=4 << 30)

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        raise NVMLError("not supported")

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:
        return 350_000

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return SimpleNamespace(gpu=97, memory=10)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_nvidias_card_is_read_in_our_units(nvml: FakeNvml) -> None:
    card = nvidia.read(ADDRESS)
    assert card is not None
    assert (card.vram.total, card.vram.free) == (24 << 30, 20 << 30)
    assert (card.temperature, card.power_limit) == (61, 350)
    assert card.load == pytest.approx(0.97)
    assert not card.HasField("power")
    assert nvml.open == 0


def test_without_driver_or_card_nothing_is_known_of_nvidias(nvml: FakeNvml) -> None:
    assert nvidia.read("0000:04:00.0") is None
    nvml.has_driver = False
    assert nvidia.read(ADDRESS) is None
    assert nvml.open == 0


def test_nvidias_cards_are_listed_where_there_is_a_driver(nvml: FakeNvml) -> None:
    assert nvidia.listed() == [Listed(0, "GPU-aaaa", ADDRESS)]
    nvml.has_driver = False
    assert nvidia.listed() == []
    assert nvml.open == 0


def amd_card(devices: Path, **files: str) -> Path:
    folder = devices / ADDRESS
    (folder / "hwmon" / "hwmon3").mkdir(parents=True)
    (folder / "mem_info_vram_total").write_text(f"{16 << 30}\n")
    (folder / "mem_info_vram_used").write_text(f"{6 << 30}\n")
    (folder / "gpu_busy_percent").write_text("42\n")
    for name, text in files.items():
        (folder / "hwmon" / "hwmon3" / name).write_text(text)
    return folder


def test_amds_card_is_read_in_our_units(tmp_path: Path) -> None:
    amd_card(
        tmp_path, temp1_input="55000\n", power1_average="120500000\n", power1_cap="303000000\n"
    )
    card = amd.read(ADDRESS, tmp_path)
    assert card is not None
    assert (card.vram.total, card.vram.free) == (16 << 30, 10 << 30)
    assert (card.temperature, card.power, card.power_limit) == (55, 120.5, 303)
    assert card.load == pytest.approx(0.42)


def test_what_amds_driver_does_not_tell_stays_unset(tmp_path: Path) -> None:
    (amd_card(tmp_path, temp1_input="odd\n") / "gpu_busy_percent").unlink()
    card = amd.read(ADDRESS, tmp_path)
    assert card == pb.Card(vram=pb.Memory(total=16 << 30, free=10 << 30))
    assert amd.read("0000:99:00.0", tmp_path) is None
