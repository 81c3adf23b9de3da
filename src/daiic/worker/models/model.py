"""A model on this machine's disk."""

from dataclasses import dataclass
from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.model_folder import Contents, survey


@dataclass(frozen=True, slots=True)
class Model:
    """A model by its name; its files may be links to others in `within`.

    `capabilities` are those that it will have once it is loaded.
    """

    name: str
    path: Path
    kind: pb.ModelKind
    within: Path | None = None
    capabilities: frozenset[pb.Capability] = frozenset()

    def contents(self) -> Contents:
        """Look at its files once more; errors are `survey`'s."""
        return survey(self.path, self.name, self.within or self.path)
