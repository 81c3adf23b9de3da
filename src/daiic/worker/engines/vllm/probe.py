"""What a model on the disk is to vLLM, told from its files alone."""

from dataclasses import replace
from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.engines.transformers_text.probe import probe as probe_language_model

TEXT = frozenset({pb.COMPLETE, pb.SAMPLING, pb.SCHEMA, pb.TOKENS})


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a folder with a language model. It makes no embeddings here."""
    found = probe_language_model(path, name)
    if found is None:
        return None
    return replace(found, capabilities=TEXT | (found.capabilities & {pb.CHAT}), reasons=False)
