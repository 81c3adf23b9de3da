"""How many processor cores there are for computing, and what they can."""

import os
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")

BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls the instructions on x86 and, the last, on ARM."""


def cores(topology: Path = TOPOLOGY, groups: Path = CGROUPS, own: Path | None = None) -> int:
    """Return how many physical cores this process may keep busy, 1 at least.

    Of threads that share a core one counts, of cores only those that the process may run on, and
    no more than the quotas of its control group (cgroup v2) and those above it pay for. `own` is
    the file that names the group; /proc/self/cgroup if not given.
    """
    allowed = os.sched_getaffinity(0)
    physical = {_siblings(topology / f"cpu{number}", number) for number in allowed}
    return max(min(len(physical), int(_quota(groups, own))), 1)


def has_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether the CPU has instructions for bfloat16, as Linux tells it."""
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:
        return False
    return not words.isdisjoint(BFLOAT16)


def _siblings(cpu: Path, number: int) -> str:
    try:
        return (cpu / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(number)


def _quota(groups: Path, own: Path | None) -> float:
    """Return how many processors the control group and those above it allow; many if no limit."""
    least = float(1 << 20)
    try:
        name = (own or Path("/proc/self/cgroup")).read_text().rpartition("::/")[2].strip()
    except OSError:
        return least
    group = groups / name
    while True:
        try:
            quota, period = (group / "cpu.max").read_text().split()
            least = min(least, int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            pass  # no limit here: the file is missing, or says "max"
        if group == groups or groups not in group.parents:
            return least
        group = group.parent
