"""What a GGUF file is to llama.cpp, told from its metadata."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.gguf.description import Gguf, describe
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.gguf.files import adapters_of, projector_of

RANK = 4
"""Of gguf's pooling types: what comes out is one score."""
CAPABILITIES: dict[pb.ModelKind, frozenset[pb.Capability]] = {
    pb.EMBEDDING: frozenset({pb.EMBED, pb.TOKENS}),
    pb.RERANKING: frozenset({pb.RERANK}),
}
TEXT = frozenset({pb.COMPLETE, pb.SAMPLING, pb.SCHEMA, pb.TOKENS})


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a GGUF file, or the first of its parts."""
    if not is_gguf(path.name) or path.is_dir():
        return None
    model = describe(path)
    if model.kind != "model":
        return None
    kind = kind_of(model)
    if kind != pb.TEXT:
        return Probed(kind, CAPABILITIES[kind])
    able = set(TEXT)
    if model.chats:
        able.add(pb.CHAT)
        if model.takes_tools:
            able.add(pb.TOOLS)
        if projector_of(path) is not None:
            able.add(pb.SEE)
    if adapters_of(path):
        able.add(pb.ADAPTERS)
    return Probed(pb.TEXT, frozenset(able), reasons=model.chats)


def kind_of(model: Gguf) -> pb.ModelKind:
    """Return whether `model` continues texts, makes embeddings of them, or ranks them."""
    if model.pooling == RANK:
        return pb.RERANKING
    return pb.TEXT if model.causal and not model.pooling else pb.EMBEDDING
