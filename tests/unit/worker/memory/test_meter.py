"""The memory that models may take on cards, and under a control group's limits."""

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, Card, Memory
from daiic.worker.memory.children import ChildMemory
from daiic.worker.memory.meter import SPARE_VRAM, MemoryMeter, control_group

GIB = 1 << 30

MACHINE = Memory(total=1000, free=800)


@pytest.fixture
def group(tmp_path):
    """Make the control group /system.slice/w.service; return how to write one of its files."""
    own = tmp_path / "own"
    own.write_text("0::/system.slice/w.service\n")
    root = tmp_path / "cgroup"
    (root / "system.slice" / "w.service").mkdir(parents=True)

    def write(path, text):
        (root / path).write_text(text)

    write.measure = lambda: control_group(MACHINE, root, own)
    return write


def test_limit_of_the_unit_narrows_the_machines_memory(group):
    group("system.slice/w.service/memory.max", "500\n")
    group("system.slice/w.service/memory.current", "300\n")
    group("system.slice/w.service/memory.stat", "anon 1\ninactive_file 100\n")
    assert group.measure() == Memory(total=500, free=300)


def test_limit_of_a_slice_above_counts_too(group):
    group("system.slice/w.service/memory.max", "max\n")
    group("system.slice/w.service/memory.current", "300\n")
    group("system.slice/memory.max", "400\n")
    group("system.slice/memory.current", "350\n")
    assert group.measure() == Memory(total=400, free=50)


def test_without_limits_the_machine_counts(group, tmp_path):
    assert group.measure() == MACHINE
    assert control_group(MACHINE, tmp_path, tmp_path / "missing") == MACHINE


def test_overdrawn_limit_leaves_nothing(group):
    group("system.slice/w.service/memory.max", "100\n")
    group("system.slice/w.service/memory.current", "300\n")
    assert group.measure().free == 0


@pytest.fixture
def two_cards(monkeypatch):
    """24 GiB, 20 of them free, of which torch keeps 2 and uses 1; and 8 GiB, all free."""
    free_and_total = [(20 * GIB, 24 * GIB), (8 * GIB, 8 * GIB)]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: free_and_total[index])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: [2 * GIB, 0][index])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: [1 * GIB, 0][index])
    cards = (Card(0, "Large"), Card(1, "Small"))
    return Backend(pb.CUDA, torch.device("cuda", 0), "both", cards)


def test_each_card_has_a_budget_of_its_own(two_cards):
    meter = MemoryMeter(two_cards)
    budget = meter.budget(held=0)
    assert budget.cards == (21 * GIB - SPARE_VRAM, 8 * GIB - SPARE_VRAM)
    assert budget.vram_bytes == sum(budget.cards)
    assert meter.vram() == Memory(32 * GIB, budget.vram_bytes)
    assert meter.most() == 32 * GIB
    assert budget.on_card(1).vram_bytes == budget.cards[1]


def test_the_limit_is_that_of_each_card(two_cards):
    meter = MemoryMeter(two_cards, vram_limit=10 * GIB)
    assert meter.budget(held=0).cards == (9 * GIB, 8 * GIB - SPARE_VRAM)
    assert meter.most() == 18 * GIB


def test_what_children_hold_counts_against_the_limit_of_their_card(two_cards):
    children = ChildMemory()
    meter = MemoryMeter(two_cards, vram_limit=10 * GIB, children=children)
    children.take({0: 4 * GIB, 1: 8 * GIB})
    assert meter.budget(held=0).cards == (5 * GIB, 2 * GIB)
    children.give_back({0: 4 * GIB, 1: 8 * GIB})
    assert meter.budget(held=0).cards == (9 * GIB, 8 * GIB - SPARE_VRAM)


def test_cards_that_torch_does_not_know_have_what_children_leave():
    card = Card(0, "A Radeon", listed=Memory(16 * GIB, 15 * GIB))
    children = ChildMemory()
    meter = MemoryMeter(
        Backend(pb.VULKAN, torch.device("cpu"), card.name, (card,)), children=children
    )
    children.take({0: 5 * GIB})
    assert meter.has_vram and meter.budget(held=0).cards == (10 * GIB - SPARE_VRAM,)
    assert meter.vram().total == 16 * GIB
