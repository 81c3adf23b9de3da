"""What NVIDIA's driver tells of a card, through NVML."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from daiic.wire import daiic_pb2 as pb


def read(address: str) -> pb.Card | None:
    """Return what is known of the card at the PCI `address`; `None` without NVML. May block."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return _read(pynvml, address)
    except pynvml.NVMLError:
        return None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read(nvml: Any, address: str) -> pb.Card:
    handle = nvml.nvmlDeviceGetHandleByPciBusId(address.encode())
    card = pb.Card()

    def tell(what: Callable[[], None]) -> None:
        with suppress(nvml.NVMLError):  # not every card measures everything
            what()

    def memory() -> None:
        found = nvml.nvmlDeviceGetMemoryInfo(handle)
        card.vram.total, card.vram.free = found.total, found.free

    def temperature() -> None:
        card.temperature = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)

    def power() -> None:
        card.power = nvml.nvmlDeviceGetPowerUsage(handle) / 1000

    def power_limit() -> None:
        card.power_limit = nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000

    def load() -> None:
        card.load = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100

    for what in (memory, temperature, power, power_limit, load):
        tell(what)
    return card
