"""Reading formats that put marks around reasoning and calls."""

from daiic.worker.engines.text.formats.call_readers import CallReader, FramedCalls, WholeCalls
from daiic.worker.engines.text.formats.events import CallBegins, Event, Expected, Reasoning, Text
from daiic.worker.engines.text.formats.format import Format
from daiic.worker.engines.text.formats.marks import begun, first_of


class MarkedReader:
    """A `Reader` of such a format.

    Blanks around reasoning are left out. Where calls may follow, blanks at the end of a text are
    kept back until it goes on, as before a call they mean nothing.
    """

    def __init__(self, form: Format, expected: Expected) -> None:
        self._reasoning = form.reasoning
        self._calls = form.calls if expected.tools else None
        self._expected = expected
        self._pending = ""
        self._blanks = ""
        self._call: CallReader | None = None
        self._has_called = False
        self._has_said = False  # the answer itself has begun
        self.is_reasoning = form.begins_in_reasoning(expected.prompt)
        self._has_reasoned = self._strips = self.is_reasoning

    def push(self, piece: str) -> list[Event]:
        """See `Reader`."""
        events: list[Event] = []
        self._pending += piece
        while self._pending and self._advance(events):
            pass
        return events

    def finish(self) -> list[Event]:
        """See `Reader`."""
        events: list[Event] = []
        if self._call is not None:
            self._note(events, self._call.finish())
            self._call = None
        pending, self._pending = self._pending, ""
        self._say(events, pending)
        if self._blanks and not self.is_reasoning and not self._has_called and not self._strips:
            events.append(Text(self._blanks))
        self._blanks = ""
        return events

    def _advance(self, events: list[Event]) -> bool:
        """Take some of what is pending; return whether more of it can be taken."""
        if self._call is not None:
            read, rest = self._call.push(self._pending)
            self._note(events, read)
            self._pending = rest or ""
            if rest is None:
                return False
            self._call = None
            return True
        if self._calls is not None and self._may_begin_bare(self._calls.bare):
            begins = self._pending.lstrip()
            if begins.startswith(self._calls.bare):
                self._pending = begins
                self._begin_call("")
                return True
            if not begins:
                return False
        marks = self._marks()
        found = first_of(marks, self._pending)
        if found is None:
            cut = len(self._pending) - begun(marks, self._pending)
            said, self._pending = self._pending[:cut], self._pending[cut:]
            self._say(events, said)
            return False
        start, mark = found
        said, self._pending = self._pending[:start], self._pending[start + len(mark) :]
        self._say(events, said)
        if self._calls is not None and mark == self._calls.begin and not self.is_reasoning:
            self._begin_call(mark)
        else:
            self.is_reasoning = not self.is_reasoning
            self._blanks = ""
            self._has_reasoned = self._strips = True
        return True

    def _marks(self) -> tuple[str, ...]:
        if self.is_reasoning:
            return self._reasoning[1:] if self._reasoning else ()
        marks = (self._calls.begin,) if self._calls is not None else ()
        # A second thought, in the middle of an answer, is text.
        return marks + self._reasoning[:1] if self._may_reason() and self._reasoning else marks

    def _may_reason(self) -> bool:
        return self._reasoning is not None and not self._has_reasoned and not self._has_said

    def _may_begin_bare(self, bare: str) -> bool:
        return bool(bare) and not (self.is_reasoning or self._has_said or self._has_called)

    def _begin_call(self, mark: str) -> None:
        assert self._calls is not None
        before, self._blanks = self._blanks + mark, ""
        self._has_said = True
        frame, tools = self._calls.frame, self._expected.tools
        if frame is not None and self._expected.is_held:
            self._call = FramedCalls(self._calls, frame, tools, before)
        else:
            self._call = WholeCalls(self._calls, tools, before)

    def _note(self, events: list[Event], read: list[Event]) -> None:
        for event in read:
            if isinstance(event, Text):
                self._say(events, event.text)
            else:
                self._has_called |= isinstance(event, CallBegins)
                events.append(event)

    def _say(self, events: list[Event], text: str) -> None:
        text, self._blanks = self._blanks + text, ""
        if self._strips:
            text = text.lstrip()
        if self._calls is not None or self.is_reasoning or self._may_reason():
            whole = text.rstrip()
            text, self._blanks = whole, text[len(whole) :]
        if not text:
            return
        self._strips = False
        self._has_said |= not self.is_reasoning
        events.append(Reasoning(text) if self.is_reasoning else Text(text))
