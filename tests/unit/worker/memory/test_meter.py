"""The memory that models may take under a control group's limits."""

import pytest

from daiic.worker.backend import Memory
from daiic.worker.memory.meter import control_group

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
