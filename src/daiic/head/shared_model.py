"""A model that several workers hold together, because none of them can alone."""

from dataclasses import dataclass

from daiic.wire import daiic_pb2 as pb

Process = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker holds of it, at the address where it lends memory."""

    process: Process
    name: str
    address: str
    bytes: int


@dataclass(slots=True)
class SharedModel:
    """The worker that leads keeps `lead_bytes` itself; `used_at` is when it last got a task."""

    model: str
    lead: Process
    lead_bytes: int
    members: tuple[Part, ...]
    used_at: float

    @property
    def plan(self) -> pb.ShardPlan:
        """What the one that leads is told."""
        return pb.ShardPlan(
            members=[
                pb.ShardMember(
                    worker_id=part.process[0],
                    name=part.name,
                    address=part.address,
                    bytes=part.bytes,
                )
                for part in self.members
            ]
        )

    @property
    def processes(self) -> frozenset[Process]:
        """All workers that hold a part."""
        return frozenset({self.lead, *(part.process for part in self.members)})

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
