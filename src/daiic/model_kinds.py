"""The kinds of models, and what models can do."""

from dataclasses import dataclass

from daiic.wire import daiic_pb2 as pb


@dataclass(frozen=True, slots=True)
class ModelKind:
    """What models of a kind have in common.

    `name` is how APIs spell it, `noun` goes before "model", `makes` is what
    it makes and `unit` what its rate counts. An engine of it that makes no
    step for `stall_limit` seconds, though it has work, has failed.
    `capabilities` are those of a model that tells none.
    """

    name: str
    noun: str
    makes: str
    unit: str
    stall_limit: float
    capabilities: frozenset[pb.Capability]


MODEL_KINDS = {
    pb.TEXT: ModelKind(
        "text",
        "language",
        "text",
        "tokens",
        stall_limit=120.0,
        # Language models make embeddings too.
        capabilities=frozenset({pb.CHAT, pb.COMPLETE, pb.EMBED}),
    ),
    pb.IMAGE: ModelKind(
        "image",
        "image",
        "images",
        "images",
        # A large image on a CPU with its weights streamed from RAM takes minutes for one step.
        stall_limit=900.0,
        capabilities=frozenset({pb.PAINT}),
    ),
    pb.EMBEDDING: ModelKind(
        "embedding",
        "embedding",
        "embeddings",
        "embeddings",
        stall_limit=300.0,
        capabilities=frozenset({pb.EMBED}),
    ),
    pb.TRANSCRIPTION: ModelKind(
        "transcription",
        "transcription",
        "transcripts",
        "tokens",
        stall_limit=300.0,
        capabilities=frozenset({pb.HEAR}),
    ),
    pb.SPEECH: ModelKind(
        "speech",
        "speech",
        "speech",
        "sentences",
        stall_limit=300.0,
        capabilities=frozenset({pb.SPEAK}),
    ),
    pb.RERANKING: ModelKind(
        "reranking",
        "reranking",
        "scores",
        "texts",
        stall_limit=300.0,
        capabilities=frozenset({pb.RERANK}),
    ),
}

ABILITIES: dict[int, str] = {
    pb.CHAT: "answer a conversation",
    pb.COMPLETE: "continue a text",
    pb.EMBED: "make embeddings",
    pb.SEE: "see images",
    pb.HEAR: "hear audio",
    pb.SPEAK: "make speech",
    pb.PAINT: "make images",
    pb.EDIT: "edit images",
    pb.RERANK: "rank texts",
    pb.TOOLS: "call tools",
    pb.SCHEMA: "keep to a format",
    pb.SAMPLING: "sample in this way",
    pb.ADAPTERS: "use adapters",
    pb.TOKENS: "take tokens in place of texts",
    pb.DIMENSIONS: "make shorter embeddings",
    pb.PROMPTS: "embed by what the inputs are",
    pb.FORMATS: "write WebP and JPEG",
}
"""What a model with each capability can do, for sentences."""


def capabilities_of(model: pb.ModelStatus) -> frozenset[pb.Capability] | None:
    """Return what `model` can do; `None` if that is not known before it is loaded."""
    if model.capabilities:
        return frozenset(model.capabilities)
    kind = MODEL_KINDS.get(model.kind)
    return kind.capabilities if kind is not None else None
