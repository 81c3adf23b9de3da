"""What NVIDIA's driver tells of a card, through NVML."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from daiic.wire import daiic_pb2 as pb
from daiic.worker.cards.listed import Listed

Found = TypeVar("Found")


def read(address: str) -> pb.Card | None:
    """Return what is known of the card at the PCI `address`; `None` without NVML. May block."""
    return _asked(lambda nvml: _read(nvml, address))


def listed() -> list[Listed]:
    """Return the machine's cards as `nvidia-smi` numbers them; none without NVML. May block."""
    return _asked(_list) or []


def _asked(ask: Callable[[Any], Found]) -> Found | None:
    """Return what `ask` learns from NVML; `None` where there is none, or it fails."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return ask(pynvml)
    except pynvml.NVMLError:
        return None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _list(nvml: Any) -> list[Listed]:
    cards = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        place = nvml.nvmlDeviceGetPciInfo(handle)
        address = f"{place.domain:04x}:{place.bus:02x}:{place.device:02x}.0"
        uuid = nvml.nvmlDeviceGetUUID(handle)  # bytes in older versions of the library
        cards.append(Listed(index, uuid.decode() if isinstance(uuid, bytes) else uuid, address))
    return cards


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
