"""How much memory models may take now: what is free, under the limits that are set.

Limits are those of the settings and those of the control group (systemd's
MemoryMax=, a container's), which the machine's own figures do not show.
"""

from pathlib import Path

import torch

from daiic.worker.backend import Backend, Card, Memory, ram
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.memory.children import ChildMemory

SPARE_RAM = 512 << 20
SPARE_VRAM = 256 << 20
"""Bytes left to the worker itself, its libraries and the system."""

CGROUPS = Path("/sys/fs/cgroup")


class MemoryMeter:
    """Measures the memory of `backend` and of this machine; limits are bytes, 0 for none.

    `vram_limit` is that of each card.
    """

    def __init__(
        self,
        backend: Backend,
        vram_limit: int = 0,
        ram_limit: int = 0,
        children: ChildMemory | None = None,
    ) -> None:
        self._backend = backend
        self._children = children or ChildMemory()
        self.vram_limit = vram_limit
        self.ram_limit = ram_limit

    @property
    def has_vram(self) -> bool:
        """Whether models go to a GPU's own memory first."""
        return bool(self._backend.cards)

    def most(self) -> int:
        """Return the bytes that models may take at most of the memory that torch's go to first."""
        if self._backend.is_gpu:
            return sum(
                min(total, self.vram_limit) if self.vram_limit else total
                for total in (card.memory().total for card in self._backend.cards)
            )
        total = control_group(ram()).total
        return min(total, self.ram_limit) if self.ram_limit else total

    def cards(self) -> list[Memory]:
        """The memory of each card; free is what models may still take."""
        return [self._card(card) for card in self._backend.cards]

    def vram(self) -> Memory:
        """The memory of all cards together; free is what models may still take."""
        cards = self.cards()
        return Memory(sum(card.total for card in cards), sum(card.free for card in cards))

    def _card(self, card: Card) -> Memory:
        memory, held = card.memory(), self._children.on(card.index)
        free = max(memory.free - SPARE_VRAM, 0)
        if self._backend.is_gpu:
            # What torch keeps for reuse is free to its next user, though not to the driver.
            allocated = torch.cuda.memory_allocated(card.index)
            free += torch.cuda.memory_reserved(card.index) - allocated
            held += allocated
        else:
            free -= held  # the card's memory is what was free before models were loaded
        if self.vram_limit:
            free = min(free, self.vram_limit - held)
        return Memory(memory.total, max(min(free, memory.total), 0))

    def ram(self, held: int) -> Memory:
        """The RAM; free is what models may still take where they `held` so many bytes in all."""
        memory = control_group(ram())
        free = memory.free - SPARE_RAM
        if self.ram_limit:
            on_gpu = self._children.total
            if self._backend.is_gpu:
                cards = self._backend.cards
                on_gpu += sum(torch.cuda.memory_allocated(card.index) for card in cards)
            free = min(free, self.ram_limit - max(held - on_gpu, 0))
        return Memory(memory.total, max(free, 0))

    def room(self, held: int) -> MemoryBudget:
        """Return what a model may take if all others, which hold so many bytes, were gone."""
        vram, ram = self.vram(), self.ram(held)
        if self.has_vram:
            return MemoryBudget(min(vram.free + held, vram.total), ram.free)
        return MemoryBudget(0, ram.free + held)

    def budget(self, held: int) -> MemoryBudget:
        """Return what another model may take beside models that `held` so many bytes in all."""
        cards = tuple(card.free for card in self.cards())
        return MemoryBudget(sum(cards), self.ram(held).free, cards=cards)


def control_group(memory: Memory, root: Path = CGROUPS, own: Path | None = None) -> Memory:
    """Return `memory` narrowed by the limits on this process's control group (cgroup v2).

    `own` is the file that names the group; /proc/self/cgroup if not given.
    """
    try:
        name = (own or Path("/proc/self/cgroup")).read_text().rpartition("::/")[2].strip()
    except OSError:
        return memory
    total, free = memory.total, memory.free
    group = root / name
    while True:
        limit, used = _number(group / "memory.max"), _number(group / "memory.current")
        if limit is not None and used is not None:
            cached = _statistic(group / "memory.stat", "inactive_file")
            total = min(total, limit)
            free = min(free, max(limit - used + cached, 0))
        if group == root or root not in group.parents:
            return Memory(total, free)
        group = group.parent


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # not there at the root; "max" where there is no limit
        return None


def _statistic(file: Path, key: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)
