"""Which models on the disk make speech, told from their files alone."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.architectures import architectures_in

CAPABILITIES = frozenset({pb.SPEAK})
ARCHITECTURE = "VitsModel"


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a VITS, as all of Meta's MMS-TTS are."""
    if ARCHITECTURE in architectures_in(path, name):
        return Probed(pb.SPEECH, CAPABILITIES)
    return None
