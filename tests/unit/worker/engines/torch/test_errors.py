"""torch's errors reach the worker as those of engines."""

import pytest
import torch

from daiic.worker.engines.interface import DeviceLost, EngineOutOfMemory
from daiic.worker.engines.torch.errors import translated


def fail_on_a_processor() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def fail_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB")


def fail_beside_torch() -> None:
    raise MemoryError


@pytest.mark.parametrize("fail", [fail_on_a_processor, fail_on_a_gpu, fail_beside_torch])
def test_a_lack_of_memory_is_one_error_wherever_it_shows(fail) -> None:
    with pytest.raises(EngineOutOfMemory), translated():
        fail()


@pytest.mark.parametrize("library", ["CUDA", "HIP"])
def test_a_lost_device_is_told_from_other_failures(library: str) -> None:
    with pytest.raises(DeviceLost, match="device-side assert"), translated():
        raise RuntimeError(f"{library} error: device-side assert triggered")


def test_other_failures_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^shape mismatch$"), translated():
        raise RuntimeError("shape mismatch")
