"""Harmony, the format of gpt-oss: messages, each with a channel that says what it is.

See cookbook.openai.com/articles/openai-harmony. OpenAI's library for it, `openai-harmony`,
downloads its own vocabulary and reads no other; here the tokens are the model's own.
"""

import enum
import re

from daiic.worker.engines.text.formats.events import (
    Arguments,
    Call,
    CallBegins,
    CallEnds,
    Event,
    Expected,
    Reasoning,
    Text,
)
from daiic.worker.engines.text.formats.format import Format
from daiic.worker.engines.text.formats.json_span import JsonSpan
from daiic.worker.engines.text.formats.loose_json import object_text
from daiic.worker.engines.text.formats.marks import begun, first_of

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
MARKS = (START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN)
MAX_HEADER = 512
"""Characters of what says what a message is; a longer one is text."""

_ENDS = (END, CALL, RETURN, START)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_TO = re.compile(r"to=(?:functions\.)?([\w.:-]+)")


class _Kind(enum.Enum):
    """What a message is."""

    REASONING = enum.auto()
    TEXT = enum.auto()
    CALL = enum.auto()
    CALL_AS_IT_COMES = enum.auto()
    ENDED_CALL = enum.auto()


class HarmonyReader:
    """A `Reader` of the messages of one answer, the first of which the prompt has begun.

    Reasoning is what the channel `analysis` has, text what is to be read by people: `final`, and
    `commentary` to nobody. Messages are divided by an empty line.
    """

    def __init__(self, form: Format, expected: Expected) -> None:
        self._expected = expected
        self._pending = ""
        self._kind: _Kind | None = None  # none: a header comes
        self._header = ""
        self._tool = ""
        self._arguments: list[str] = []
        self._span = JsonSpan()
        self._gap: dict[_Kind | None, str] = {}

    @property
    def is_reasoning(self) -> bool:
        """See `Reader`."""
        return self._kind is _Kind.REASONING

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
        pending, self._pending = self._pending, ""
        if self._kind is None:
            if pending.strip() and CHANNEL not in pending:  # no message at all
                events.append(Text(pending))
            return events
        self._read(events, pending)
        self._close(events)
        return events

    def _advance(self, events: list[Event]) -> bool:
        """Take some of what is pending; return whether more of it can be taken."""
        if self._kind is None:
            found = first_of((MESSAGE,), self._pending)
            if found is not None and found[0] <= MAX_HEADER:
                self._open(self._pending[: found[0]])
                self._pending = self._pending[found[0] + len(MESSAGE) :]
                return True
            if len(self._pending) <= MAX_HEADER:
                return False
            self._open("")
            return True
        found = first_of(_ENDS, self._pending)
        if found is None:
            cut = len(self._pending) - begun(_ENDS, self._pending)
            self._read(events, self._pending[:cut])
            self._pending = self._pending[cut:]
            return False
        self._read(events, self._pending[: found[0]])
        self._pending = self._pending[found[0] + len(found[1]) :]
        self._close(events)
        return True

    def _open(self, header: str) -> None:
        channel, to = _CHANNEL.search(header), _TO.search(header)
        self._header = header
        if to is not None:
            self._tool = to[1]
            streams = self._expected.is_held and self._tool in self._expected.tools
            self._kind = _Kind.CALL_AS_IT_COMES if streams else _Kind.CALL
            self._arguments, self._span = [], JsonSpan()
        elif channel is not None and channel[1] == "analysis":
            self._kind = _Kind.REASONING
        else:
            self._kind = _Kind.TEXT

    def _read(self, events: list[Event], text: str) -> None:
        if not text:
            return
        match self._kind:
            case _Kind.REASONING | _Kind.TEXT:
                text = self._gap.pop(self._kind, "") + text
                events.append(Reasoning(text) if self.is_reasoning else Text(text))
            case _Kind.CALL:
                self._arguments.append(text)
            case _Kind.CALL_AS_IT_COMES:
                if not self._arguments:
                    events.append(CallBegins(self._tool))
                    self._arguments.append(text)
                end = self._span.end(text)
                events.append(Arguments(text if end < 0 else text[:end]))
                if end >= 0:
                    events.append(CallEnds())
                    self._kind = _Kind.ENDED_CALL

    def _close(self, events: list[Event]) -> None:
        """End the message; a call that is none is text."""
        if self._kind is _Kind.CALL:
            said = "".join(self._arguments)
            arguments = object_text(said)
            if arguments is not None and self._tool in self._expected.tools:
                events.extend(Call(self._tool, arguments).events())
            else:
                events.append(Text(f"{self._header}{MESSAGE}{said}"))
        elif self._kind in (_Kind.REASONING, _Kind.TEXT):
            self._gap[self._kind] = "\n\n"
        self._kind = None


HARMONY = Format(
    "harmony", HarmonyReader, marks=MARKS, can_call=True, can_reason=True, can_hold=True
)
