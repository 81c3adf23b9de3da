"""The order in which the parts of a task's answer are passed on.

RESULTs may arrive in any order, and another worker may continue the answer
when the one that ran the task is lost. An `AnswerOrder` puts the parts in order
and keeps what a second run needs to continue where the first broke off.
"""

import secrets
from dataclasses import dataclass

from daiic.wire import daiic_pb2 as pb
from daiic.work import work_of

SEED_BITS = 53
"""Seeds that we draw are exact in JSON's numbers too."""


TOKEN = 40
"""Bytes that a token takes while it is kept."""

LAST_RESUMED = 1 << 31
"""The largest index at which an answer may be resumed: the parts that follow have 32 bits."""


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """How much is kept of one answer.

    `ahead` parts, which take `ahead_bytes`, may wait for an earlier one; our
    own senders never have more in flight. `delivered` bytes of text and
    tokens are kept for another run to continue from.
    """

    ahead: int = 2048
    ahead_bytes: int = 64 << 20
    delivered: int = 64 << 20


class TooMuch(Exception):
    """The peer that answers sends more than is kept; the message says of what."""


class AnswerOrder:
    """The answer to one task, on its way to the client.

    `early_bytes` is the size of the parts that wait for an earlier one.
    """

    __slots__ = (
        "_early",
        "_limits",
        "_model",
        "_next",
        "_room",
        "_text",
        "_tokens",
        "early_bytes",
        "finished",
        "task",
    )

    def __init__(self, task: pb.Task, limits: AnswerLimits = AnswerLimits()) -> None:
        """Take over `task`; draw its seed if it has none, so that every run answers alike."""
        self.task = task
        kind = work_of(task)
        if kind is not None and kind.seeded:
            work = kind.work_in(task)
            if not work.HasField("seed"):
                work.seed = secrets.randbits(SEED_BITS)
        self.finished = False
        # Encoded, because a hostile part may take thirty times its bytes when it is decoded.
        self._early: dict[int, bytes] = {}
        self.early_bytes = 0
        self._limits = limits
        self._room = limits.delivered
        self._next = 0
        self._tokens: list[int] = []
        self._text: list[str] = []
        self._model: pb.ModelIdentity | None = None
        if task.HasField("resume"):
            resume = task.resume
            self._next = resume.index
            self._tokens.extend(resume.tokens)
            self._text.append(resume.text)
            self._room -= size_of(resume)
            if resume.HasField("model"):
                self._learn(resume.model)

    @property
    def made_by(self) -> pb.ModelIdentity | None:
        """The model that made the text so far; `None` if there is none, or it told nothing."""
        return self._model if self._tokens or any(self._text) else None

    def accept(self, part: pb.Result) -> pb.Result | None:
        """Add a part; return it if it may be passed on now, and see `follow` then.

        A part that was passed on before is dropped.

        Raises:
            TooMuch: if it is more than is kept; it does not count as passed on.
        """
        if self.finished or part.index < self._next:
            return None
        if part.index > self._next:
            self._keep(part)
            return None
        self._pass_on(part)
        return part

    def follow(self) -> pb.Result | None:
        """Return the next of the parts that came early and may be passed on now.

        Raises:
            TooMuch: as `accept` does.
        """
        encoded = self._early.pop(self._next, None)
        if encoded is None:
            return None
        self.early_bytes -= len(encoded)
        part = pb.Result.FromString(encoded)
        self._pass_on(part)
        return part

    def _pass_on(self, part: pb.Result) -> None:
        """Note what `part`, which is next, adds to the answer."""
        if part.started_over:
            self._forget_delivered()
        if part.HasField("model"):
            self._learn(part.model)
        text, tokens = part.text, part.tokens
        self._room -= len(text) + TOKEN * len(tokens)
        if self._room < 0 and not part.final:
            raise TooMuch(f"an answer of more than {self._limits.delivered >> 20} MiB")
        self._next += 1
        self._tokens.extend(tokens)
        if text:
            self._text.append(text)
        if part.final:
            self.finished = True
            self.drop_early()

    def _learn(self, model: pb.ModelIdentity) -> None:
        """Note which model goes on; it may tell what the one that began did not."""
        known = pb.ModelIdentity()
        known.CopyFrom(model)
        if self.made_by is not None:
            known.MergeFrom(self.made_by)
        self._model = known

    def _forget_delivered(self) -> None:
        self._tokens.clear()
        self._text.clear()
        self._model = None
        self._room = self._limits.delivered

    def _keep(self, part: pb.Result) -> None:
        if part.index in self._early:
            return
        encoded = part.SerializeToString()
        size = len(encoded)
        # A single part may be of any size: it takes no more than the wire did for it.
        if self._early and self.early_bytes + size > self._limits.ahead_bytes:
            raise TooMuch(f"more than {self._limits.ahead_bytes >> 20} MiB ahead of a missing part")
        if part.index - self._next >= self._limits.ahead:
            raise TooMuch(f"more than {self._limits.ahead} parts ahead of a missing one")
        self._early[part.index] = encoded
        self.early_bytes += size

    def drop_early(self) -> None:
        """Drop the parts that wait for an earlier one."""
        self._early.clear()
        self.early_bytes = 0

    @property
    def has_gap(self) -> bool:
        """Whether a part is missing of which a later one is here."""
        return bool(self._early)

    @property
    def next_index(self) -> int:
        """The index of the part to be passed on next."""
        return self._next

    def resume_here(self) -> None:
        """Change `task` so that another run of it continues after what was passed on.

        Parts that came early are dropped; those of the run before must not be
        given to `accept` any more, unless that run goes on under the same id.
        """
        self.drop_early()
        if self._next:
            self._text = ["".join(self._text)]
            self.task.resume.CopyFrom(
                pb.Resume(
                    tokens=self._tokens,
                    text=self._text[0],
                    index=self._next,
                    model=self.made_by,
                )
            )


def size_of(resume: pb.Resume) -> int:
    """Return the bytes that text and tokens take while they are kept."""
    return len(resume.text) + TOKEN * len(resume.tokens)
