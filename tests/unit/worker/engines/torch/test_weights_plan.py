"""Weights go to the GPU while they fit, then partly to RAM, and else there is an error."""

from pathlib import Path

import pytest
import torch
from accelerate import infer_auto_device_map
from safetensors.torch import save_file

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, Card
from daiic.worker.engines.torch.weights_plan import Sizes, automatic, measure, plan
from daiic.worker.memory.budget import MemoryBudget

GIB = 1 << 30
GPU = Backend(pb.CUDA, torch.device("cuda", 0), "A GPU")
TWO = Backend(pb.CUDA, torch.device("cuda", 0), "both", (Card(0, "One"), Card(3, "Other")))
PROCESSOR = Backend(pb.CPU, torch.device("cpu"), "A processor")
SEVEN_BILLION = Sizes(matrices=6_500_000_000, total=7_000_000_000)
PATH = Path("seven-billion")


@pytest.fixture(autouse=True)
def new_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


def test_what_fits_the_gpu_goes_there_whole() -> None:
    budget = MemoryBudget(vram_bytes=24 * GIB, ram_bytes=0)
    dtype, where = plan(PATH, SEVEN_BILLION, GPU, "none", budget, ram_offload=True)
    assert dtype == torch.bfloat16
    assert where == {"device_map": {"": GPU.device}}


def test_four_bits_fit_where_sixteen_do_not() -> None:
    budget = MemoryBudget(vram_bytes=8 * GIB, ram_bytes=0)
    _, where = plan(PATH, SEVEN_BILLION, GPU, "4bit", budget, ram_offload=False)
    assert where == {"device_map": {"": GPU.device}}
    with pytest.raises(TaskError, match="GPU memory"):
        plan(PATH, SEVEN_BILLION, GPU, "none", budget, ram_offload=False)


def test_what_does_not_fit_the_gpu_is_shared_with_ram() -> None:
    budget = MemoryBudget(vram_bytes=10 * GIB, ram_bytes=32 * GIB)
    _, where = plan(PATH, SEVEN_BILLION, GPU, "none", budget, ram_offload=True)
    assert where["device_map"] == "auto"
    assert where["max_memory"]["cpu"] == 32 * GIB
    assert 7 * GIB < where["max_memory"][0] < 10 * GIB


def test_what_fits_neither_is_refused_with_advice() -> None:
    budget = MemoryBudget(vram_bytes=4 * GIB, ram_bytes=4 * GIB)
    with pytest.raises(TaskError, match="GPU and RAM have") as refusal:
        plan(PATH, SEVEN_BILLION, GPU, "none", budget, ram_offload=True)
    assert refusal.value.code == pb.OUT_OF_MEMORY
    assert "quantization" in refusal.value.remedy


def budget_of(*cards: int, ram: int = 0) -> MemoryBudget:
    return MemoryBudget(sum(cards) * GIB, ram * GIB, cards=tuple(card * GIB for card in cards))


def test_a_model_that_one_card_holds_goes_to_the_one_with_the_most_room() -> None:
    _, where = plan(PATH, SEVEN_BILLION, TWO, "none", budget_of(8, 24), ram_offload=True)
    assert where == {"device_map": {"": torch.device("cuda", 3)}}


@pytest.mark.parametrize("offload", [True, False])
def test_what_no_card_holds_goes_over_all_of_them(offload: bool) -> None:
    budget = budget_of(12, 10, ram=32)
    _, where = plan(PATH, SEVEN_BILLION, TWO, "none", budget, ram_offload=offload)
    assert where["device_map"] == "auto"
    assert 8 * GIB < where["max_memory"][0] < 12 * GIB
    assert 7 * GIB < where["max_memory"][3] < 10 * GIB
    assert ("cpu" in where["max_memory"]) == offload


def test_layers_are_placed_within_each_cards_room() -> None:
    layers = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024, bias=False) for _ in range(10)))
    numbers = 10 << 20
    mib = 1 << 20
    budget = MemoryBudget(30 * mib, 0, cards=(18 * mib, 12 * mib))
    _, where = plan(PATH, Sizes(numbers, numbers), TWO, "none", budget, ram_offload=False)
    placed = infer_auto_device_map(
        layers, max_memory=where["max_memory"], dtype=torch.bfloat16, no_split_module_classes=[]
    )
    assert list(dict.fromkeys(placed.values())) == [0, 3]


def test_what_all_cards_cannot_hold_is_refused_or_partly_in_ram() -> None:
    with pytest.raises(TaskError, match="GPU memory"):
        plan(PATH, SEVEN_BILLION, TWO, "none", budget_of(6, 6, ram=32), ram_offload=False)
    _, where = plan(PATH, SEVEN_BILLION, TWO, "none", budget_of(6, 6, ram=32), ram_offload=True)
    assert where["max_memory"]["cpu"] == 32 * GIB


@pytest.mark.parametrize(("ram", "dtype"), [(64, torch.float32), (24, torch.bfloat16)])
def test_on_a_processor_precision_gives_way_before_the_model_is_refused(
    ram: int, dtype: torch.dtype
) -> None:
    budget = MemoryBudget(vram_bytes=0, ram_bytes=ram * GIB)
    assert plan(PATH, SEVEN_BILLION, PROCESSOR, "none", budget, ram_offload=True) == (
        dtype,
        {"device_map": {"": "cpu"}},
    )


def test_a_precision_that_is_set_does_not_give_way() -> None:
    plenty = MemoryBudget(vram_bytes=0, ram_bytes=64 * GIB)
    dtype, _ = plan(PATH, SEVEN_BILLION, PROCESSOR, "none", plenty, False, "bfloat16")
    assert dtype == torch.bfloat16
    little = MemoryBudget(vram_bytes=0, ram_bytes=24 * GIB)
    with pytest.raises(TaskError, match=r"it needs 26\.1 GiB of RAM"):
        plan(PATH, SEVEN_BILLION, PROCESSOR, "none", little, False, "float32")
    assert automatic(SEVEN_BILLION, PROCESSOR, 24 * GIB, "float32") == "8bit"


def test_a_gpu_computes_in_what_it_has_whatever_is_set_for_processors() -> None:
    budget = MemoryBudget(vram_bytes=24 * GIB, ram_bytes=0)
    dtype, _ = plan(PATH, SEVEN_BILLION, GPU, "none", budget, False, "float32")
    assert dtype == torch.bfloat16


def test_a_processor_without_the_ram_is_an_error() -> None:
    budget = MemoryBudget(vram_bytes=0, ram_bytes=8 * GIB)
    with pytest.raises(TaskError, match="of RAM"):
        plan(PATH, SEVEN_BILLION, PROCESSOR, "none", budget, ram_offload=True)


def test_experts_are_counted_as_they_are_loaded(tmp_path: Path) -> None:
    matrix = torch.zeros(4, 4)
    names = ("layers.0.q_proj.weight", "layers.0.mlp.shared_experts.up_proj.weight")
    experts = (f"layers.0.mlp.experts.{number}.up_proj.weight" for number in range(8))
    save_file({name: matrix.clone() for name in (*names, *experts)}, tmp_path / "model.safetensors")
    assert measure(tmp_path) == Sizes(matrices=2 * 16, total=10 * 16)


@pytest.mark.parametrize(
    ("gib", "expected"), [(24, "none"), (16, "8bit"), (8, "4bit"), (1, "4bit")]
)
def test_the_most_exact_weights_that_fit_a_gpu_are_taken(gib: int, expected: str) -> None:
    assert automatic(SEVEN_BILLION, GPU, gib * GIB) == expected


def test_a_processor_quantises_only_what_does_not_fit_in_sixteen_bits() -> None:
    assert automatic(SEVEN_BILLION, PROCESSOR, 16 * GIB) == "8bit"
    budget = MemoryBudget(vram_bytes=0, ram_bytes=18 * GIB)
    assert automatic(SEVEN_BILLION, PROCESSOR, budget.ram_bytes) == "none"
    dtype, _ = plan(PATH, SEVEN_BILLION, PROCESSOR, "none", budget, ram_offload=False)
    assert dtype == torch.bfloat16
