"""The bounds within which a worker works, whatever tasks, folders and templates say.

Those of the wire are in `daiic.wire.limits`. docs/operations.md says what
happens at each.
"""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Sizes in bytes, times in seconds.

    Of tasks: `waiting` for a slot, as a multiple of the slots; `unsent` bytes
    of answers. Of a heartbeat: its size, its `models`, and the characters of
    why one failed, a `detail`.
    """

    waiting: int = 4
    unsent: int = 32 * MIB
    heartbeat: int = 64 * KIB
    models: int = 512
    detail: int = 512


LIMITS = WorkerLimits()
