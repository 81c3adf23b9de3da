"""Computing takes as many threads as there are cores for this process, and no more;
whether it can be in bfloat16 is known."""

import os
from pathlib import Path

import pytest

from daiic.worker.processors import cores, has_bfloat16


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of four cores with two threads each, of which cpu7 is not ours."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    for number in range(8):
        folder = tmp_path / "cpus" / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    (tmp_path / "own").write_text("0::/system.slice/worker.service\n")
    (tmp_path / "groups" / "system.slice" / "worker.service").mkdir(parents=True)
    return tmp_path


def counted(machine: Path) -> int:
    return cores(machine / "cpus", machine / "groups", machine / "own")


def test_threads_of_one_core_count_once(machine: Path) -> None:
    assert counted(machine) == 4


@pytest.mark.parametrize(
    ("group", "limit", "expected"),
    [
        ("system.slice/worker.service", "250000 100000", 2),
        ("system.slice", "100000 100000", 1),
        ("system.slice/worker.service", "10000 100000", 1),
        ("system.slice/worker.service", "max 100000", 4),
        ("system.slice/worker.service", "what is this", 4),
        ("system.slice/worker.service", "1 0", 4),
    ],
)
def test_the_quotas_of_all_control_groups_count(
    machine: Path, group: str, limit: str, expected: int
) -> None:
    (machine / "groups" / group / "cpu.max").write_text(limit)
    assert counted(machine) == expected


def test_a_machine_that_tells_nothing_has_a_core_for_each_processor(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert cores(nowhere, nowhere, nowhere) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_vnni", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd i8mm bf16", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("model name\t: AMD EPYC-bf16x", False),
    ],
)
def test_bfloat16_is_known_by_the_processors_flags(tmp_path: Path, flags: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n\n")
    assert has_bfloat16(tmp_path / "cpuinfo") is has


def test_without_the_processors_flags_there_is_no_bfloat16(tmp_path: Path) -> None:
    assert not has_bfloat16(tmp_path / "cpuinfo")
