"""Which models on the disk rank texts, told from their files alone."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.architectures import architectures_in, config_in

CAPABILITIES = frozenset({pb.RERANK})
_CLASSIFIES = "ForSequenceClassification"


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a folder with a model that has one score for a pair of texts."""
    if not path.is_dir():
        return None
    classifies = any(one.endswith(_CLASSIFIES) for one in architectures_in(path, name))
    if classifies and _labels(config_in(path, name)) == 1:
        return Probed(pb.RERANKING, CAPABILITIES)
    return None


def _labels(config: dict[str, object]) -> int:
    """Return how many numbers the model makes; transformers' own default is two."""
    named = config.get("id2label")
    if isinstance(named, dict):
        return len(named)
    count = config.get("num_labels", 2)
    return count if isinstance(count, int) else 2
