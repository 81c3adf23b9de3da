"""Which models on the disk make sentence embeddings, told from their files alone."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.architectures import architectures_in
from daiic.worker.models.checkpoint_files import is_file

CAPABILITIES = frozenset({pb.EMBED})
_ENCODES = ("Model", "ForMaskedLM")


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: what sentence-transformers wrote, or a model without a head."""
    if is_file(path / "modules.json") or any(
        architecture.endswith(_ENCODES) for architecture in architectures_in(path, name)
    ):
        return Probed(pb.EMBEDDING, CAPABILITIES)
    return None
