"""A model on this machine's disk."""

from dataclasses import dataclass, field
from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.model_folder import Contents, survey
from daiic.worker.sharding.plan import ALONE, Plan


@dataclass(frozen=True, slots=True)
class Model:
    """A model by its name; its files may be links to others in `within`.

    `capabilities` are those that it will have once it is loaded, `reasons` is as
    `Probed` has it, and `adapters` are the names of those beside it. `choice` says why it is
    this of several files, if the name does not.
    `quantization` is a GGUF's, `needs` the least bytes it runs with, and `lead_needs` those
    of them that lie where it is led from, if several machines hold it. One that was `downloaded`
    is in a folder of its repository, `within`.
    `plan` says which other machines hold parts of it, and `slices` how like ones could.
    """

    name: str
    path: Path
    kind: pb.ModelKind
    within: Path | None = None
    capabilities: frozenset[pb.Capability] = frozenset()
    choice: str = ""
    reasons: bool = False
    adapters: tuple[str, ...] = ()
    quantization: str = ""
    plan: Plan = ALONE
    needs: int = 0
    lead_needs: int = 0
    downloaded: bool = False
    slices: pb.ModelSlices | None = field(default=None, compare=False)

    def contents(self) -> Contents:
        """Look at its files once more; errors are `survey`'s."""
        beside = self.path.parent if is_gguf(self.path.name) else self.path
        return survey(self.path, self.name, self.within or beside)
