"""Which models on the disk make sentence embeddings, told from their files alone."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.engines.transformers_embedding import dimensions, prompts
from daiic.worker.models.architectures import architectures_in
from daiic.worker.models.checkpoint_files import is_file

_ENCODES = ("Model", "ForMaskedLM")


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: what sentence-transformers wrote, or a model without a head."""
    if is_file(path / "modules.json") or any(
        architecture.endswith(_ENCODES) for architecture in architectures_in(path, name)
    ):
        return Probed(pb.EMBEDDING, capabilities(path))
    return None


def capabilities(path: Path) -> frozenset[pb.Capability]:
    """Return what tasks may ask of the embedding model in the directory `path`.

    Raises:
        TaskError: BAD_REQUEST if its files are not valid.
    """
    able = {pb.EMBED, pb.TOKENS}
    if dimensions.read(path).can_be_chosen:
        able.add(pb.DIMENSIONS)
    if prompts.read(path).by_name:
        able.add(pb.PROMPTS)
    return frozenset(able)
