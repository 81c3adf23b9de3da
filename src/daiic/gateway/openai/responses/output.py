"""The items of a response's output, built from the parts of an answer.

What the model thinks, says and calls comes in any order. An item is open while parts add to it,
and is closed when another one begins.
"""

from collections.abc import Iterator
from typing import Literal, TypedDict

from daiic.gateway.openai.schema.logprobs import Logprobs, TokenLogprob
from daiic.gateway.openai.schema.response_events import (
    ArgumentsDelta,
    ArgumentsDone,
    ContentPartAdded,
    ContentPartDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ReasoningDelta,
    ReasoningDone,
    ResponseEvent,
)
from daiic.gateway.openai.schema.response_items import (
    FunctionCall,
    OutputItem,
    OutputMessage,
    OutputText,
    Reasoning,
    ReasoningText,
    Status,
)
from daiic.wire import daiic_pb2 as pb

Kind = Literal["message", "reasoning", "call"]
_PREFIX: dict[Kind, str] = {"message": "msg", "reasoning": "rs", "call": "fc"}


class Where(TypedDict):
    """Which item an event is about."""

    item_id: str
    output_index: int


class Output:
    """The output of one response; `items` are those that are whole."""

    __slots__ = ("_call", "_call_id", "_kind", "_logprobs", "_name", "_pieces", "_suffix", "items")

    def __init__(self, suffix: str) -> None:
        """`suffix` goes into the ids of the items."""
        self.items: list[OutputItem] = []
        self._suffix = suffix
        self._kind: Kind | None = None
        self._pieces: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._call = 0
        """The index of the open call."""
        self._call_id = self._name = ""

    def add(self, part: pb.Result) -> Iterator[ResponseEvent]:
        """Add what `part` has, and yield what happens to the items."""
        if part.reasoning:
            yield from self._open("reasoning")
            self._pieces.append(part.reasoning)
            yield ReasoningDelta(**self._where, delta=part.reasoning)
        told = Logprobs.of(part)
        if part.text or (told and not part.reasoning and not part.tool_calls):
            yield from self._open("message")
            logprobs = told.content if told else []
            self._pieces.append(part.text)
            self._logprobs += logprobs
            yield OutputTextDelta(**self._where, delta=part.text, logprobs=logprobs)
        for call in part.tool_calls:
            if self._kind != "call" or self._call != call.index:
                yield from self._close("completed")
                self._call, self._call_id, self._name = call.index, call.id, call.name
                yield from self._open("call")
            if call.arguments:
                self._pieces.append(call.arguments)
                yield ArgumentsDelta(**self._where, delta=call.arguments)
        if part.final:
            cut_off = part.finish_reason == pb.FINISH_REASON_LENGTH
            if not self.items and self._kind is None:
                yield from self._open("message")
            yield from self._close("incomplete" if cut_off else "completed")

    @property
    def _where(self) -> Where:
        assert self._kind is not None
        index = len(self.items)
        return {"item_id": f"{_PREFIX[self._kind]}_{self._suffix}_{index}", "output_index": index}

    def _open(self, kind: Kind) -> Iterator[ResponseEvent]:
        """Begin an item, unless one of this `kind` is open."""
        if self._kind == kind:
            return
        yield from self._close("completed")
        self._kind = kind
        index = len(self.items)
        yield OutputItemAdded(output_index=index, item=self._item("in_progress"))
        if kind != "call":
            yield ContentPartAdded(**self._where, part=self._content(""))

    def _close(self, status: Status) -> Iterator[ResponseEvent]:
        """End the open item, if there is one."""
        if self._kind is None:
            return
        text = "".join(self._pieces)
        where = self._where
        if self._kind == "call":
            yield ArgumentsDone(**where, arguments=text, name=self._name)
        else:
            if self._kind == "message":
                yield OutputTextDone(**where, text=text, logprobs=self._logprobs)
            else:
                yield ReasoningDone(**where, text=text)
            yield ContentPartDone(**where, part=self._content(text))
        item = self._item(status)
        yield OutputItemDone(output_index=len(self.items), item=item)
        self.items.append(item)
        self._kind, self._pieces, self._logprobs = None, [], []

    def _item(self, status: Status) -> OutputItem:
        """Return the open item as it is now."""
        text = "".join(self._pieces)
        item_id = self._where["item_id"]
        if self._kind == "call":
            return FunctionCall(item_id, status, self._call_id, self._name, text)
        begun = status == "in_progress"
        if self._kind == "reasoning":
            return Reasoning(item_id, status, [] if begun else [ReasoningText(text)])
        content = [] if begun else [OutputText(text, self._logprobs)]
        return OutputMessage(item_id, status, content)

    def _content(self, text: str) -> OutputText | ReasoningText:
        """Return the content of the open item, with `text` in it."""
        if self._kind == "reasoning":
            return ReasoningText(text)
        return OutputText(text, self._logprobs)
