"""From a path to the model that is there: what it is, and which of its quantisations is meant."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineEntry
from daiic.worker.engines.registry import ENGINES, choose
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.adapters import adapters_beside
from daiic.worker.models.gguf.choice import at_lead, choose_quantization, needs_of, with_context
from daiic.worker.models.gguf.description import describe
from daiic.worker.models.gguf.files import parts_of
from daiic.worker.models.model import Model
from daiic.worker.models.model_folder import survey
from daiic.worker.models.model_json import shown


def identified(
    name: str, path: Path, within: Path, engines: Sequence[EngineEntry] = ENGINES
) -> Model:
    """Return the model `name` in `path`, whose files may be links as far as `within`.

    `engines` are those that may run it.

    Raises:
        TaskError: BAD_REQUEST if no engine can run it, or its files are not valid.
        OSError: if they cannot be read.
    """
    _, probed = choose(path, name, engines)
    adapts = pb.ADAPTERS in probed.capabilities
    return Model(
        name,
        path,
        probed.model_kind,
        within,
        probed.capabilities,
        reasons=probed.reasons,
        adapters=tuple(adapters_beside(path, probed.model_kind) if adapts else ()),
    )


def gguf(name: str, path: Path, within: Path) -> Model | None:
    """Return the model in the GGUF file `path`, `None` for what only belongs to a model.

    Errors are those of `identified`.
    """
    files = survey(path, name, within).files.values()
    described = describe(path)
    if described.kind != "model":
        return None
    beside = max(sum(file.stat().st_size for file in files) - described.weight_bytes, 0)
    return replace(
        identified(name, parts_of(path)[0], within),
        quantization=described.quantization,
        needs=with_context(described) + beside,
        lead_needs=at_lead(described) + beside,
    )


def gguf_by_name(name: str, path: Path, within: Path) -> Model:
    """Return the model in the GGUF file `path`; errors are those of `identified`."""
    model = gguf(name, path, within)
    if model is None:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} is no model of its own: it is of the kind {shown(describe(path).kind)}",
            "name the model that it belongs to",
        )
    return model


def best_gguf(ggufs: Mapping[str, Path], within: Path, room: MemoryBudget) -> Model | None:
    """Return the model of which `ggufs` are quantisations, in the one that suits `room` best.

    It is `None` if none of them is a model. Errors are those of `identified`.
    """
    needs = needs_of(ggufs)
    if not needs:
        return None
    name, why = choose_quantization(needs, room)
    return replace(gguf_by_name(name, ggufs[name], within), choice=why)
