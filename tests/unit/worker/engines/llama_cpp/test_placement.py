"""A GGUF model goes to cards as far as they have room, in proportion to it."""

from pathlib import Path

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, Card
from daiic.worker.engines.llama_cpp.devices import Device
from daiic.worker.engines.llama_cpp.placement import cards_for
from daiic.worker.engines.llama_cpp.program import Options
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.gguf.choice import WORK

GIB = 1 << 30
PROCESSOR = Backend(pb.CPU, torch.device("cpu"), "A processor")


def backend(kind: pb.Backend, *indices: int) -> Backend:
    cards = tuple(Card(index, "A card") for index in indices)
    return Backend(kind, torch.device("cpu"), "cards", cards)


def budget(*cards: int) -> MemoryBudget:
    return MemoryBudget(sum(cards), 64 * GIB, cards=cards)


def listed(*names: str) -> list[Device]:
    return [Device(name, "A card", 24 * GIB, 24 * GIB) for name in names]


def test_nothing_is_said_to_a_program_without_cards() -> None:
    placed = cards_for(PROCESSOR, MemoryBudget(0, GIB), []).place(GIB, 10)
    assert (placed.arguments(), placed.where, placed.shares) == ([], "ram", {})


def test_a_processor_is_kept_to_where_the_program_has_cards() -> None:
    placed = cards_for(PROCESSOR, MemoryBudget(0, GIB), listed("CUDA0")).place(GIB, 10)
    assert (placed.arguments(), placed.where) == (["--device", "none"], "ram")


@pytest.mark.parametrize(
    ("kind", "name"), [(pb.CUDA, "CUDA1"), (pb.ROCM, "ROCm1"), (pb.VULKAN, "Vulkan1")]
)
def test_one_card_takes_all_layers(kind: pb.Backend, name: str) -> None:
    cards = cards_for(backend(kind, 1), budget(8 * GIB), listed("CUDA0", name))
    placed = cards.place(6 * GIB, 32)
    assert placed.arguments()[:2] == ["--device", name]
    assert "--tensor-split" not in placed.arguments()
    assert placed.layers > 32 and placed.where == "gpu"
    assert placed.shares == {1: 6 * GIB}


def test_unlike_cards_share_by_what_is_free() -> None:
    free = (18 * GIB + WORK, 6 * GIB + WORK)
    cards = cards_for(backend(pb.CUDA, 0, 2), budget(*free), listed("CUDA0", "CUDA1", "CUDA2"))
    placed = cards.place(20 * GIB, 80)
    assert placed.arguments()[:2] == ["--device", "CUDA0,CUDA2"]
    assert placed.arguments()[-4:] == ["--split-mode", "layer", "--tensor-split", "18432,6144"]
    assert placed.shares == {0: 15 * GIB, 2: 5 * GIB}


def test_what_does_not_fit_stays_in_ram_by_layers() -> None:
    placed = cards_for(backend(pb.VULKAN, 0), budget(5 * GIB), listed("Vulkan0")).place(
        20 * GIB, 39
    )
    assert (placed.layers, placed.where) == (10, "gpu+ram")
    assert placed.shares == {0: 5 * GIB}


def test_a_program_for_other_cards_computes_on_the_processor() -> None:
    cards = cards_for(backend(pb.CUDA, 0), budget(24 * GIB), listed("Vulkan0"))
    assert cards.room == 0
    assert cards.place(GIB, 10).arguments() == ["--device", "none"]
    assert cards_for(backend(pb.CUDA, 0), budget(24 * GIB), []).place(GIB, 10).arguments() == []


def test_a_full_card_takes_no_layer() -> None:
    cards = cards_for(backend(pb.VULKAN, 0), budget(1000), listed("Vulkan0"))
    assert cards.place(20 * GIB, 39).arguments() == ["--device", "none"]


def test_llama_server_is_not_left_to_change_what_was_placed() -> None:
    placed = cards_for(backend(pb.VULKAN, 0), budget(GIB), listed("Vulkan0")).place(1, 1)
    options = Options(Path("m.gguf"), Path("s.sock"), 100, 2, placement=placed)
    said = options.arguments(frozenset({"--fit"}))
    assert said[said.index("--fit") + 1] == "off"
    assert "--fit" not in options.arguments(frozenset())
    assert "--fit" not in Options(Path("m.gguf"), Path("s.sock"), 100, 2).arguments()
