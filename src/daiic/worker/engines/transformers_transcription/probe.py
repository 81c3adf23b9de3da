"""Which models on the disk write down what is said, told from their files alone."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.architectures import architectures_in

CAPABILITIES = frozenset({pb.HEAR})
ARCHITECTURE = "WhisperForConditionalGeneration"


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a Whisper, which transformers has in one class."""
    if ARCHITECTURE in architectures_in(path, name):
        return Probed(pb.TRANSCRIPTION, CAPABILITIES)
    return None
