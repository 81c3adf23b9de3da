"""What `daiic doctor` says of the torch that is installed, for builds that these tests make up."""

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from daiic.cli.machine_checks import AMD, NVIDIA
from daiic.cli.torch_checks import check_torch


def install(
    monkeypatch: pytest.MonkeyPatch,
    *,
    cuda: str | None = None,
    hip: str | None = None,
    built: list[str] | None = None,
    devices: list[dict[str, Any]] | None = None,
    file: str = "/usr/lib/python3/site-packages/torch/__init__.py",
) -> None:
    """Make `import torch` give a torch with this build, on a machine with these devices."""
    found = [SimpleNamespace(**device) for device in devices or []]
    torch: Any = ModuleType("torch")
    torch.__spec__ = importlib.machinery.ModuleSpec("torch", None)
    torch.__file__ = file
    torch.__version__ = "2.13.0"
    torch.version = SimpleNamespace(cuda=cuda, hip=hip)
    torch.cuda = SimpleNamespace(
        is_available=lambda: bool(found),
        device_count=lambda: len(found),
        get_device_properties=lambda number: found[number],
        get_arch_list=lambda: built or [],
    )
    monkeypatch.setitem(sys.modules, "torch", torch)


def nvidia(major: int, minor: int) -> dict[str, Any]:
    return {"name": "H100", "major": major, "minor": minor}


def test_torch_for_the_cpu_is_fine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    finding = check_torch(set())
    assert finding.level == "ok"
    assert "2.13.0" in finding.says and "built for the CPU" in finding.says


def test_torch_for_the_cpu_beside_a_gpu_comes_with_where_to_get_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch)
    finding = check_torch({NVIDIA})
    assert finding.level == "warning"
    assert "CUDA" in finding.says and "pytorch.org" in finding.advice


def test_torch_from_the_nix_store_is_told_how_nix_gets_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, file="/nix/store/0-python3-torch/lib/torch/__init__.py")
    finding = check_torch({AMD})
    assert "from the Nix store" in finding.says
    assert 'services.daiic.worker.backend = "rocm"' in finding.advice


def test_torch_for_the_other_vendor_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, hip="7.2.53211-9999")
    finding = check_torch({NVIDIA})
    assert finding.level == "warning"
    assert "ROCm 7.2" in finding.says and "CUDA" in finding.says


@pytest.mark.parametrize(
    ("built", "card"),
    [
        (["sm_90"], (9, 0)),
        (["sm_80"], (8, 9)),
        (["sm_75", "compute_90"], (12, 0)),
        (["sm_120"], (12, 0)),
        ([], (9, 0)),
    ],
)
def test_a_card_that_torch_has_code_for_is_fine(
    monkeypatch: pytest.MonkeyPatch, built: list[str], card: tuple[int, int]
) -> None:
    install(monkeypatch, cuda="12.9", built=built, devices=[nvidia(*card)])
    finding = check_torch({NVIDIA})
    assert finding.level == "ok"
    assert "CUDA 12.9" in finding.says and "sees H100" in finding.says


@pytest.mark.parametrize(
    ("built", "card"),
    [
        (["sm_75", "sm_90"], (6, 1)),
        (["sm_90"], (12, 0)),
        (["sm_89"], (8, 6)),
        (["sm_90a"], (9, 1)),
        (["nonsense"], (9, 0)),
    ],
)
def test_a_card_that_torch_has_no_code_for_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, built: list[str], card: tuple[int, int]
) -> None:
    install(monkeypatch, cuda="12.9", built=built, devices=[nvidia(*card)])
    finding = check_torch({NVIDIA})
    assert finding.level == "warning"
    assert "no code for H100" in finding.says and built[0] in finding.says


@pytest.mark.parametrize(("built", "level"), [("gfx90a", "ok"), ("gfx1100", "warning")])
def test_an_amd_card_is_looked_up_by_its_architecture(
    monkeypatch: pytest.MonkeyPatch, built: str, level: str
) -> None:
    card = {"name": "MI210", "gcnArchName": "gfx90a:sramecc+:xnack-"}
    install(monkeypatch, hip="7.2.1", built=[built], devices=[card])
    finding = check_torch({AMD})
    assert finding.level == level
    assert level == "ok" or "rocmOverrideGfx" in finding.advice


def test_a_driver_that_shows_no_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cuda="12.9")
    finding = check_torch({NVIDIA})
    assert finding.level == "warning" and "driver" in finding.advice


def test_a_card_with_escapes_in_its_name_is_shown_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cuda="12.9", devices=[{"name": "\x1b[2J", "major": 9, "minor": 0}])
    assert "\x1b" not in check_torch({NVIDIA}).says
