"""Which parts of a model a head wants on which machines, and which layers those are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import is_loopback, numeric
from daiic.worker.limits import LIMITS

MAX_MEMBERS = LIMITS.shard_members
MAX_NAME = LIMITS.shard_name


@dataclass(frozen=True, slots=True)
class Member:
    """A worker that lends memory at `address`, `bytes` at most for weights and their context."""

    worker_id: str
    name: str
    address: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Those that hold parts of a model for this worker; none for a model in one piece.

    This worker should hold `own` bytes of it itself; 0 stands for what is left.
    """

    members: tuple[Member, ...] = ()
    own: int = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield the members."""
        return iter(self.members)

    def __len__(self) -> int:
        """Return how many members there are."""
        return len(self.members)


ALONE = Plan()
"""For a model in one piece."""


def plan_of(task: pb.Task, *, encrypted: bool) -> Plan:
    """Return the plan of `task`; without encryption, all of it must be on this machine.

    Raises:
        TaskError: BAD_REQUEST if it is not a plan that can be followed.
    """
    members = tuple(
        Member(one.worker_id[:MAX_NAME], one.name[:MAX_NAME], one.address, one.bytes)
        for one in task.shards.members
    )
    if len(members) > MAX_MEMBERS:
        raise _refused(f"has {len(members)} members, and {MAX_MEMBERS} are the most")
    for member in members:
        address = numeric(member.address)
        if address is None or not address[1]:
            raise _refused("has a member without an address")
        if not member.bytes:
            raise _refused("has a member that holds nothing")
        if not encrypted and not is_loopback(address):
            raise _refused("leads to other machines, and this worker has no cluster key")
    if len({member.address for member in members}) < len(members):
        raise _refused("has a member twice")
    return Plan(members, task.shards.bytes) if members else ALONE


def same_machines(one: Plan, other: Plan) -> bool:
    """Return whether two plans lead to the same workers, whatever they hold."""
    return {(m.worker_id, m.address) for m in one} == {(m.worker_id, m.address) for m in other}


def split(layer_bytes: Sequence[int], shares: Sequence[int]) -> list[int]:
    """Return how many successive layers each holder gets, in proportion to its share of bytes."""
    whole, total = sum(layer_bytes), sum(shares)
    if not total or not whole:
        raise _refused("has no room for any layer")
    ends = [end / total for end in accumulate(shares)]
    layers = [0] * len(shares)
    passed, holder = 0, 0
    for size in layer_bytes:
        middle = (passed + size / 2) / whole
        while holder < len(ends) - 1 and middle > ends[holder]:
            holder += 1
        layers[holder] += 1
        passed += size
    return layers


def _refused(what: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, f"the task's plan of shards {what}", "send tasks to a head")
