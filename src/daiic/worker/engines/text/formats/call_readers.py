"""Reading what stands between the marks of calls."""

from collections.abc import Collection
from typing import Protocol

from daiic.worker.engines.text.formats.events import (
    Arguments,
    CallBegins,
    CallEnds,
    Event,
    Text,
    Tools,
)
from daiic.worker.engines.text.formats.format import CallSyntax, Frame
from daiic.worker.engines.text.formats.json_span import JsonSpan
from daiic.worker.engines.text.formats.marks import begun, first_of


class CallReader(Protocol):
    """Reads calls from behind their beginning up to their end."""

    def push(self, piece: str) -> tuple[list[Event], str | None]:
        """Return what `piece` adds, and what of it is behind the end; None while there is none."""

    def finish(self) -> list[Event]:
        """Return what was held back when the answer ends here."""


class WholeCalls:
    """Reads calls that may be anything: they are passed on when their end shows what they are.

    What is no call of a tool among `tools` is text, with what was `before` it, as the model wrote
    it.
    """

    def __init__(self, syntax: CallSyntax, tools: Tools, before: str) -> None:
        self._syntax = syntax
        self._tools = tools
        self._before = before
        self._pieces: list[str] = []
        self._pending = ""

    def push(self, piece: str) -> tuple[list[Event], str | None]:
        """See `CallReader`."""
        end = self._syntax.end
        if not end:
            self._pieces.append(piece)
            return [], None
        text = self._pending + piece
        found = first_of((end,), text)
        if found is None:
            held = begun((end,), text)
            self._pieces.append(text[: len(text) - held])
            self._pending = text[len(text) - held :]
            return [], None
        self._pieces.append(text[: found[0]])
        self._pending = ""
        return self._read(end), text[found[0] + len(end) :]

    def finish(self) -> list[Event]:
        """See `CallReader`."""
        self._pieces.append(self._pending)
        if self._syntax.end:  # it was cut off
            return [Text(self._before + "".join(self._pieces))]
        return self._read("")

    def _read(self, end: str) -> list[Event]:
        inside = "".join(self._pieces)
        calls = self._syntax.parse(inside, self._tools)
        if not calls or any(call.name not in self._tools for call in calls):
            return [Text(self._before + inside + end)]
        return [event for call in calls for event in call.events()]


class FramedCalls:
    """Reads calls that keep to a frame to the letter; their arguments are passed on as they come.

    Should one not, the rest of it is text.
    """

    def __init__(
        self, syntax: CallSyntax, frame: Frame, names: Collection[str], before: str
    ) -> None:
        self._frame = frame
        self._end = syntax.end
        self._heads = {frame.before + name + frame.middle: name for name in names}
        self._lead = frame.lead
        self._before = before
        self._pending = ""
        self._span: JsonSpan | None = None
        self._has_called = False

    def push(self, piece: str) -> tuple[list[Event], str | None]:
        """See `CallReader`."""
        events: list[Event] = []
        self._pending += piece
        while True:
            if self._span is not None:
                if not self._arguments(events, self._span):
                    return events, None
                continue
            nexts = self._nexts()
            found = next((text for text in nexts if self._pending.startswith(text)), None)
            if found is None:
                if self._pending and any(text.startswith(self._pending) for text in nexts):
                    return events, None
                if not self._pending:
                    return events, None
                return events, self._give_up(events)
            self._pending = self._pending[len(found) :]
            if nexts[found] is None:
                return events, self._pending
            events.append(CallBegins(str(nexts[found])))
            self._has_called = True
            self._span = JsonSpan()

    def finish(self) -> list[Event]:
        """See `CallReader`."""
        events: list[Event] = []
        if self._span is None and not self._has_called:
            self._give_up(events)
            events.append(Text(self._pending))
        return events

    def _arguments(self, events: list[Event], span: JsonSpan) -> bool:
        """Pass on what is there of the arguments; return whether they are whole."""
        end = span.end(self._pending)
        piece = self._pending if end < 0 else self._pending[:end]
        self._pending = self._pending[len(piece) :]
        if piece:
            events.append(Arguments(piece))
        if end < 0:
            return False
        events.append(CallEnds())
        self._span = None
        return True

    def _nexts(self) -> dict[str, str | None]:
        """What may follow now: the heads of calls, with the names, and the end."""
        if not self._has_called:
            return {self._lead + head: name for head, name in self._heads.items()}
        frame, last = self._frame, self._frame.tail + self._end
        nexts: dict[str, str | None] = {}
        if frame.between is not None:
            joint = frame.after + frame.between
            nexts |= {joint + head: name for head, name in self._heads.items()}
        if last or frame.between is None:  # else only the end of the answer ends it
            nexts[frame.after + last] = None
        return nexts

    def _give_up(self, events: list[Event]) -> str:
        if not self._has_called and self._before:
            events.append(Text(self._before))
            self._before = ""
        return self._pending
