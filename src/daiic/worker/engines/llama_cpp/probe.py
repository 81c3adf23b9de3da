"""What a GGUF file is to llama.cpp, told from its metadata."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.gguf.description import Gguf, describe
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.gguf.files import adapters_of, projector_of

TEXT = frozenset({pb.COMPLETE, pb.SAMPLING, pb.SCHEMA, pb.TOKENS})


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a GGUF file, or the first of its parts."""
    if not is_gguf(path.name) or path.is_dir():
        return None
    model = describe(path)
    if model.kind != "model":
        return None
    if embeds(model):
        return Probed(pb.EMBEDDING, frozenset({pb.EMBED}))
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


def embeds(model: Gguf) -> bool:
    """Return whether `model` makes embeddings of texts instead of continuing them."""
    return not model.causal or bool(model.pooling)
