"""A model that several workers hold together, because none of them can alone."""

from dataclasses import dataclass, field

from daiic.wire import daiic_pb2 as pb

Process = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker holds of it, at the address where it is asked for that."""

    process: Process
    name: str
    address: str
    bytes: int


@dataclass(slots=True, eq=False)
class SharedModel:
    """The worker that leads keeps `lead_bytes` itself.

    `running` counts this head's tasks on it, `used_at` is when it last had one, and `seen_at`
    when the one that leads last said that it has the model. `ending_since` is set while that
    is asked to let it go.
    """

    model: str
    lead: Process
    lead_bytes: int
    members: tuple[Part, ...]
    used_at: float
    seen_at: float = field(init=False)
    running: int = 0
    ending_since: float | None = None

    def __post_init__(self) -> None:
        self.seen_at = self.used_at

    @property
    def plan(self) -> pb.ShardPlan:
        """What the one that leads is told."""
        return pb.ShardPlan(
            bytes=self.lead_bytes,
            members=[
                pb.ShardMember(
                    worker_id=part.process[0],
                    name=part.name,
                    address=part.address,
                    bytes=part.bytes,
                )
                for part in self.members
            ],
        )

    @property
    def processes(self) -> frozenset[Process]:
        """All workers that hold a part."""
        return frozenset({self.lead, *(part.process for part in self.members)})

    def has_member(self, process: Process) -> bool:
        """Return whether a worker has a part of it and does not lead."""
        return any(part.process == process for part in self.members)

    def bytes_of(self, process: Process) -> int:
        """Return how much of it a worker holds."""
        if process == self.lead:
            return self.lead_bytes
        return sum(part.bytes for part in self.members if part.process == process)

    def blamed(self, said: str) -> list[Process]:
        """Return the members that an error of the one that leads names."""
        words = said.split()
        return [
            part.process
            for part in self.members
            if part.process[0] in words or (part.name and said.startswith(f"{part.name} "))
        ]
