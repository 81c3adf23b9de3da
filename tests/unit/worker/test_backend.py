"""The backend is the one that was asked for, or there is an error that says what to do."""

from types import SimpleNamespace

import pytest
import torch

from daiic.service.settings import SettingsError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.backend import BackendSetting
from daiic.worker.engines.llama_cpp.devices import Device


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    *,
    gpu: bool,
    hip: str | None = None,
    shared: tuple[bool, ...] = (False,),
) -> None:
    """Let torch find a card for each of `shared`, which says whether it shares the RAM."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(shared))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(
            pci_domain_id=0, pci_bus_id=0x2B + device, pci_device_id=1, is_integrated=shared[device]
        ),
    )
    monkeypatch.setattr(torch.version, "hip", hip)


def test_without_a_gpu_the_processor_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpu=False)
    chosen = backend.choose("auto")
    assert (chosen.kind, chosen.device.type, chosen.is_gpu) == (pb.CPU, "cpu", False)
    assert chosen.name
    assert chosen.cards == ()


@pytest.mark.parametrize(("hip", "kind"), [(None, pb.CUDA), ("6.4", pb.ROCM)])
def test_auto_takes_the_gpu_that_there_is(
    monkeypatch: pytest.MonkeyPatch, hip: str | None, kind: pb.Backend
) -> None:
    pretend(monkeypatch, gpu=True, hip=hip)
    chosen = backend.choose("auto")
    assert (chosen.kind, chosen.device.type, chosen.name) == (kind, "cuda", "A GPU")
    assert [card.pci_address for card in chosen.cards] == ["0000:2b:01.0"]


def test_all_cards_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpu=True, shared=(False, False))
    chosen = backend.choose("auto")
    assert chosen.name == "2 x A GPU"
    assert [card.pci_address for card in chosen.cards] == ["0000:2b:01.0", "0000:2c:01.0"]
    alone = chosen.on_card(1)
    assert (alone.device, alone.cards, alone.name) == (
        torch.device("cuda", 1),
        chosen.cards[1:],
        "A GPU",
    )


def test_a_card_that_shares_the_ram_is_taken_only_where_it_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, gpu=True, shared=(True, False))
    chosen = backend.choose("auto")
    assert [card.index for card in chosen.cards] == [1]
    assert chosen.device == torch.device("cuda", 1)
    pretend(monkeypatch, gpu=True, shared=(True,))
    assert [card.index for card in backend.choose("auto").cards] == [0]


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


CARDS = [Device("Vulkan0", "A Radeon", 16 << 30, 15 << 30), Device("Vulkan1", "An Arc", 8, 8)]


def test_vulkans_cards_are_taken_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpu=False)
    chosen = backend.choose("auto", CARDS)
    assert (chosen.kind, chosen.name, chosen.is_gpu) == (pb.VULKAN, "A Radeon, An Arc", False)
    assert chosen.device == torch.device("cpu")
    assert chosen.cards[0].memory() == backend.Memory(16 << 30, 15 << 30)
    assert backend.choose("auto", [Device("CUDA0", "A GPU", 8, 8)]).kind == pb.CPU
    assert backend.choose("cpu", CARDS).kind == pb.CPU
    pretend(monkeypatch, gpu=True)
    assert backend.choose("auto", CARDS).kind == pb.CUDA
    assert backend.choose("vulkan", CARDS).kind == pb.VULKAN


def test_vulkan_without_cards_or_with_names_that_it_lacks_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, gpu=False)
    with pytest.raises(SettingsError, match="llama-server --list-devices"):
        backend.choose("vulkan", [Device("CUDA0", "A GPU", 8, 8)])
    with pytest.raises(SettingsError, match="vulkaninfo --summary"):
        backend.choose("auto", CARDS, ["0000:03:00.0"])


def test_ram_is_measured() -> None:
    memory = backend.ram()
    assert 0 < memory.free <= memory.total
