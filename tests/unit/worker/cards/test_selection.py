"""The cards that `gpus` names are the ones that libraries see, however they are named."""

from pathlib import Path

import pytest

from daiic.service.settings import SettingsError
from daiic.worker.cards import amd
from daiic.worker.cards.listed import Listed
from daiic.worker.cards.selection import Vendor, visible

GEFORCE = [
    Listed(0, "GPU-aaaa-1", "0000:01:00.0"),
    Listed(1, "GPU-aaaa-2", "0000:41:00.0"),
    Listed(2, "GPU-aaaa-3", "0001:41:00.0"),
]
RADEON = [Listed(0, "GPU-00000000000000b1", "0000:0a:00.0")]


def machine(nvidia: list[Listed], radeon: list[Listed]) -> tuple[Vendor, ...]:
    return (
        Vendor("NVIDIA", "cuda", "CUDA_VISIBLE_DEVICES", lambda: nvidia, by_uuid=True),
        Vendor("AMD", "rocm", "HIP_VISIBLE_DEVICES", lambda: radeon, by_uuid=False),
    )


def test_none_named_leaves_the_environment_alone() -> None:
    assert visible((), "auto", machine(GEFORCE, RADEON)) == {}


@pytest.mark.parametrize("name", ["1", "41:00.0", "0000:41:00.0", "00000000:41:00.0", "GPU-AAAA-2"])
def test_a_card_is_found_by_each_of_its_names(name: str) -> None:
    found = visible((name,), "cuda", machine(GEFORCE, []))
    assert found == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa-2"}


def test_order_is_kept() -> None:
    found = visible(("2", "0"), "cuda", machine(GEFORCE, []))
    assert found == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa-3,GPU-aaaa-1"}


def test_naming_one_vendors_card_hides_the_others() -> None:
    found = visible(("0000:0a:00.0",), "auto", machine(GEFORCE, RADEON))
    assert found == {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "0"}


def test_numbers_are_vulkans_too_where_it_may_be_used() -> None:
    assert visible(("0", "1"), "vulkan", machine([], [])) == {"GGML_VK_VISIBLE_DEVICES": "0,1"}
    assert visible(("1",), "auto", machine([], [])) == {"GGML_VK_VISIBLE_DEVICES": "1"}
    assert visible(("0",), "auto", machine([], RADEON)) == {
        "HIP_VISIBLE_DEVICES": "0",
        "GGML_VK_VISIBLE_DEVICES": "0",
    }


@pytest.mark.parametrize(
    ("gpus", "backend", "cards", "advice"),
    [
        (("3",), "cuda", GEFORCE, "there are: 0 .*0000:01:00.0"),
        (("0000:99:00.0",), "auto", GEFORCE, "there are: 0 "),
        (("0", "GPU-aaaa-1"), "auto", GEFORCE, "name each card once"),
        (("0",), "cuda", [], "no card of NVIDIA: check that the driver is loaded"),
        (("0000:01:00.0",), "auto", [], "no card of NVIDIA or AMD"),
        (("0000:01:00.0",), "vulkan", GEFORCE, "vulkaninfo --summary"),
    ],
)
def test_a_card_that_is_not_there_is_refused_with_those_that_are(
    gpus: tuple[str, ...], backend: str, cards: list[Listed], advice: str
) -> None:
    with pytest.raises(SettingsError, match=f"gpus names .*{advice}"):
        visible(gpus, backend, machine(cards, []))


def test_amds_cards_are_compute_nodes_with_simds(tmp_path: Path) -> None:
    nodes = {
        "0": "cpu_cores_count 16\nsimd_count 0\n",
        "10": "simd_count 96\nlocation_id 16640\ndomain 1\nunique_id 0\n",
        "2": "simd_count 128\nlocation_id 2560\ndomain 0\nunique_id 177\n",
        "3": "\xff not numbers\n" * 3,
    }
    for name, text in nodes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "properties").write_text(text)
    assert amd.listed(tmp_path) == [
        Listed(0, "GPU-00000000000000b1", "0000:0a:00.0"),
        Listed(1, "", "0001:41:00.0"),
    ]
    assert amd.listed(tmp_path / "missing") == []
