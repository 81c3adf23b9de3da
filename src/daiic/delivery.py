"""The order in which a task's answer is passed on, whoever gives it.

RESULTs may arrive in any order, and a task may be begun again elsewhere when
the one who ran it is lost. A `Delivery` puts the parts in order and knows
what a second run needs to continue where the first broke off.
"""

import secrets

from daiic.wire import daiic_pb2 as pb

SEED_BITS = 53
"""Seeds that we draw are exact in JSON's numbers too."""


class Delivery:
    """One task's answer on its way to whoever asked."""

    __slots__ = ("_early", "_next", "_text", "_tokens", "finished", "task")

    def __init__(self, task: pb.Task) -> None:
        """Take over `task`; one without a seed gets one, so that every run answers alike."""
        self.task = task
        work = task.WhichOneof("work")
        if work == "text" and not task.text.HasField("seed"):
            task.text.seed = secrets.randbits(SEED_BITS)
        elif work == "image" and not task.image.HasField("seed"):
            task.image.seed = secrets.randbits(SEED_BITS)
        self.finished = False
        self._next = task.resume.index
        self._early: dict[int, pb.Result] = {}
        self._tokens: list[int] = list(task.resume.tokens)
        self._text: list[str] = [task.resume.text]

    def accept(self, part: pb.Result) -> list[pb.Result]:
        """Take in a part; return those that may be passed on now, in order.

        A part that was passed on before is dropped.
        """
        if self.finished or part.index < self._next:
            return []
        self._early[part.index] = part
        ready = []
        while (following := self._early.pop(self._next, None)) is not None:
            self._next += 1
            self._tokens.extend(following.tokens)
            if following.text:
                self._text.append(following.text)
            ready.append(following)
            if following.final:
                self.finished = True
                self._early.clear()
                break
        return ready

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

        Parts that came early are dropped; none of the run before may be given
        to `accept` any more, unless that run goes on under the same id.
        """
        self._early.clear()
        if self._next:
            self._text = ["".join(self._text)]
            self.task.resume.CopyFrom(
                pb.Resume(tokens=self._tokens, text=self._text[0], index=self._next)
            )
