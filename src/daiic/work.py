"""The registry of work: what the rest needs to know of each kind of task.

A new kind of task is an entry here, an engine that does it, and an endpoint
that asks for it. Heads, workers, clients and gateways branch on nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from daiic.wire import daiic_pb2 as pb

USUAL_TOKENS = 256
"""Tokens that a text is reckoned to get if the task does not limit them."""

BYTES_PER_TOKEN = 4
READ_PER_WRITTEN = 20
"""Tokens of a prompt that are read in the time in which one token is written."""
TOKENS_OF_MEDIA = 1024
"""Tokens of a prompt that an image or a recording is reckoned as."""
BYTES_PER_SPOKEN_TOKEN = 4000
"""Bytes of a recording, which may be compressed or not, in which a token is reckoned to be said."""
CHARACTERS_PER_SENTENCE = 80

Needs = frozenset[pb.Capability]


@dataclass(frozen=True, slots=True)
class WorkKind:
    """A kind of task.

    `name` is its field in `Task.work`. `unit` is what is made, of which
    `size` reckons how much a task asks for, `reading` how much could be made
    while a byte of the task is read, and `made` tells how much a part of an
    answer has. A worker that was not measured makes `usual_rate` of it a second.
    `shared` says whether a worker's tasks of this kind run together rather
    than one after the other, `seeded` whether its work has a seed, `loads` whether
    its model has to be in memory: if not, the task names its worker.

    `model_kinds` are those that can do it, the most fitting one first; none
    if any can. `needs` tells what a model must be capable of for a task.
    """

    name: str
    unit: str
    usual_rate: float
    shared: bool
    seeded: bool
    model_kinds: tuple[pb.ModelKind, ...]
    size: Callable[[pb.Task], float]
    reading: float
    made: Callable[[pb.Result], int]
    needs: Callable[[pb.Task], Needs]
    loads: bool = True

    def accepts(self, model_kind: pb.ModelKind) -> bool:
        """Return whether models of `model_kind` can do it."""
        return not self.model_kinds or model_kind in self.model_kinds

    def work_in(self, task: pb.Task) -> Any:
        """Return the field of `task` that describes the work."""
        return getattr(task, self.name)


def _text_needs(task: pb.Task) -> Needs:
    text = task.text
    more = []
    if text.messages:
        needs = _CHAT
        for message in text.messages:
            if message.tool_calls or message.tool_call_id or message.role == "tool":
                more.append(pb.TOOLS)
            for part in message.parts:
                if part.HasField("image"):
                    more.append(pb.SEE)
                elif part.HasField("audio"):
                    more.append(pb.HEAR)
    else:
        needs = _COMPLETE
        if text.prompt_tokens:
            more.append(pb.TOKENS)
    if text.tools or (text.HasField("tool_choice") and _must_call(text.tool_choice)):
        more.append(pb.TOOLS)
    if text.HasField("constraint") and text.constraint.WhichOneof("form") is not None:
        more.append(pb.SCHEMA)
    if text.HasField("sampling") and text.sampling.ByteSize():
        more.append(pb.SAMPLING)
    return needs.union(more) if more else needs


def _must_call(choice: pb.ToolChoice) -> bool:
    return bool(choice.name) or choice.mode == pb.ToolChoice.REQUIRED


def _image_needs(task: pb.Task) -> Needs:
    begins = task.image.HasField("image") or task.image.HasField("mask")
    needs = _EDIT if begins else _PAINT
    return needs | {pb.FORMATS} if task.image.type else needs


def _embed_needs(task: pb.Task) -> Needs:
    embed = task.embed
    asked = {
        pb.TOKENS: embed.token_inputs,
        pb.DIMENSIONS: embed.dimensions,
        pb.PROMPTS: embed.prompt_name,
    }
    return _EMBED.union(need for need, is_asked in asked.items() if is_asked)


_CHAT, _COMPLETE = frozenset({pb.CHAT}), frozenset({pb.COMPLETE})
_PAINT, _EDIT = frozenset({pb.PAINT}), frozenset({pb.EDIT})
_EMBED = frozenset({pb.EMBED})
_HEAR, _SPEAK, _RERANK = frozenset({pb.HEAR}), frozenset({pb.SPEAK}), frozenset({pb.RERANK})
_MEDIA = frozenset({pb.SEE, pb.HEAR})
_NOTHING: Needs = frozenset()


def _left(task: pb.Task, whole: float) -> float:
    """Return what is left of `whole`, in tokens, after those that `task` resumes."""
    made = len(task.resume.tokens) if task.HasField("resume") else 0
    return max(whole - made, 1)


WORK = {
    kind.name: kind
    for kind in (
        WorkKind(
            "text",
            "tokens",
            usual_rate=50.0,
            shared=True,
            seeded=True,
            model_kinds=(pb.TEXT,),
            size=lambda task: _left(task, task.text.max_tokens or USUAL_TOKENS),
            reading=1 / (BYTES_PER_TOKEN * READ_PER_WRITTEN),
            made=lambda part: len(part.tokens),
            needs=_text_needs,
        ),
        WorkKind(
            "image",
            "images",
            usual_rate=0.2,
            shared=False,
            seeded=True,
            model_kinds=(pb.IMAGE,),
            size=lambda task: task.image.n or 1,
            reading=0.0,
            made=lambda part: len(part.images),
            needs=_image_needs,
        ),
        WorkKind(
            "embed",
            "embeddings",
            usual_rate=100.0,
            shared=True,
            seeded=False,
            model_kinds=(pb.EMBEDDING, pb.TEXT),
            size=lambda task: len(task.embed.inputs) + len(task.embed.token_inputs) or 1,
            reading=0.0,
            made=lambda part: len(part.embeddings),
            needs=_embed_needs,
        ),
        WorkKind(
            "transcribe",
            "tokens",
            usual_rate=50.0,
            shared=False,
            seeded=True,
            model_kinds=(pb.TRANSCRIPTION,),
            size=lambda task: _left(task, len(task.transcribe.audio.data) / BYTES_PER_SPOKEN_TOKEN),
            reading=0.0,
            made=lambda part: len(part.tokens),
            needs=lambda task: _HEAR,
        ),
        WorkKind(
            "speak",
            "sentences",
            usual_rate=2.0,
            shared=False,
            seeded=True,
            model_kinds=(pb.SPEECH,),
            size=lambda task: _left(task, len(task.speak.input) / CHARACTERS_PER_SENTENCE),
            reading=0.0,
            made=lambda part: len(part.tokens),
            needs=lambda task: _SPEAK,
        ),
        WorkKind(
            "rerank",
            "texts",
            usual_rate=50.0,
            shared=True,
            seeded=False,
            model_kinds=(pb.RERANKING,),
            size=lambda task: len(task.rerank.documents) or 1,
            reading=0.0,
            made=lambda part: len(part.scores),
            needs=lambda task: _RERANK,
        ),
        WorkKind(
            "load",
            "models",
            usual_rate=1.0,
            shared=True,
            seeded=False,
            model_kinds=(),
            size=lambda task: 1,
            reading=0.0,
            made=lambda part: 0,
            needs=lambda task: _NOTHING,
        ),
        WorkKind(
            "manage",
            "models",
            usual_rate=1.0,
            shared=True,
            seeded=False,
            model_kinds=(),
            size=lambda task: 1,
            reading=0.0,
            made=lambda part: 0,
            needs=lambda task: _NOTHING,
            loads=False,
        ),
    )
}
"""What workers do, by the name in `Task.work`; a StatusTask is answered by a head itself."""


def work_of(task: pb.Task) -> WorkKind | None:
    """Return the kind of `task`; `None` if it has no work, or none for workers."""
    return WORK.get(task.WhichOneof("work") or "")


def needs_of(task: pb.Task) -> Needs:
    """Return what a model must be capable of to run `task`."""
    kind = work_of(task)
    needs = kind.needs(task) if kind is not None else _NOTHING
    return needs | {pb.ADAPTERS} if task.adapters else needs


def bytes_to_read(task: pb.Task, size: int, needs: Needs) -> int:
    """Return how many bytes of text it takes as long to read as `task`, which has `size` bytes."""
    if needs.isdisjoint(_MEDIA):
        return size
    size = task.ByteSize()
    for message in task.text.messages:
        for part in message.parts:
            if not part.HasField("text"):
                size += BYTES_PER_TOKEN * TOKENS_OF_MEDIA - part.ByteSize()
    return size
