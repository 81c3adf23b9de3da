"""The backend is the one that was asked for, or there is an error that says what to do."""

from types import SimpleNamespace

import pytest
import torch

from daiic.service.settings import SettingsError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.backend import BackendSetting


def pretend(monkeypatch: pytest.MonkeyPatch, *, gpu: bool, hip: str | None = None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    place = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x2B, pci_device_id=1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: place)
    monkeypatch.setattr(torch.version, "hip", hip)


def test_without_a_gpu_the_processor_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpu=False)
    chosen = backend.choose("auto")
    assert (chosen.kind, chosen.device.type, chosen.is_gpu) == (pb.CPU, "cpu", False)
    assert chosen.name
    assert chosen.vram() == backend.Memory(0, 0)


@pytest.mark.parametrize(("hip", "kind"), [(None, pb.CUDA), ("6.4", pb.ROCM)])
def test_auto_takes_the_gpu_that_there_is(
    monkeypatch: pytest.MonkeyPatch, hip: str | None, kind: pb.Backend
) -> None:
    pretend(monkeypatch, gpu=True, hip=hip)
    chosen = backend.choose("auto")
    assert (chosen.kind, chosen.device.type, chosen.name) == (kind, "cuda", "A GPU")
    assert chosen.pci_address == "0000:2b:01.0"


def test_cpu_is_taken_beside_a_gpu_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpu=True)
    assert backend.choose("cpu").kind == pb.CPU


@pytest.mark.parametrize(
    ("setting", "gpu", "hip", "advice"),
    [
        ("cuda", False, None, "nvidia-smi"),
        ("rocm", False, None, "rocminfo"),
        ("cuda", True, "6.4", "nvidia-smi"),
        ("rocm", True, None, "/dev/kfd"),
    ],
)
def test_a_gpu_that_is_not_there_is_an_error_with_advice(
    monkeypatch: pytest.MonkeyPatch,
    setting: BackendSetting,
    gpu: bool,
    hip: str | None,
    advice: str,
) -> None:
    pretend(monkeypatch, gpu=gpu, hip=hip)
    with pytest.raises(SettingsError) as refusal:
        backend.choose(setting)
    assert f'backend = "{setting}"' in str(refusal.value)
    assert advice in str(refusal.value)


def test_ram_is_measured() -> None:
    memory = backend.ram()
    assert 0 < memory.free <= memory.total
