"""From tokens to what is sent of them, a piece at a time."""

from collections.abc import Collection, Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.formats.events import (
    Arguments,
    CallBegins,
    CallEnds,
    Event,
    Reasoning,
    Text,
)
from daiic.worker.engines.text.stop_strings import StopStrings
from daiic.worker.engines.transformers_text.reading import Reading


class Transcript:
    """The answer of one task so far, and why it ended.

    Text comes out only as whole characters, and not while it may be the
    beginning of a stop string; joined, the pieces are the same however the
    tokens came. With a `reading`, what is reasoning or a call of a tool is told
    from text, and stop strings are looked for in text alone.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str],
        end_tokens: Collection[int],
        max_tokens: int,
        reading: Reading | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._reading = reading
        self._decoder = DecodeStream(skip_special_tokens=reading is None)
        self._stop = StopStrings(stop)
        self._end_tokens = end_tokens
        self._max_tokens = max_tokens
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[pb.ToolCallPart] = []
        self._begun_calls = self._whole_calls = 0
        self._tokens: list[int] = []
        self._to_skip = 0
        self.count = 0
        self.reasoning_count = 0
        self.finish_reason = pb.FINISH_REASON_UNSPECIFIED

    def resume(self, delivered: pb.Resume) -> None:
        """Read what an earlier run delivered, so that only what follows comes out."""
        for token in delivered.tokens:
            self.push(token)
        # All that these tokens are was delivered with them; of text alone it is known how much.
        self._tokens.clear()
        self._reasoning.clear()
        self._calls.clear()
        self._to_skip = len(delivered.text)

    def push(self, token: int) -> None:
        """Add the next token; after the end of the text it is ignored."""
        if self.finish_reason:
            return
        self.count += 1
        self._tokens.append(token)
        if token in self._end_tokens:
            self._end(pb.FINISH_REASON_STOP)
            return
        if self._reading is None or token not in self._reading.skipped:
            self._read(self._decoder.step(self._tokenizer, token) or "")
        if self._stop.found or self._has_called_enough:
            self._end(pb.FINISH_REASON_STOP)
        elif self.count >= self._max_tokens:
            self._end(pb.FINISH_REASON_LENGTH)

    def end(self, reason: pb.FinishReason) -> None:
        """End the text here, for a reason that its tokens do not show."""
        if not self.finish_reason:
            self._end(reason)

    def take(self) -> tuple[str, list[int]]:
        """Return the text and the tokens that are new since the last call."""
        text, tokens = "".join(self._text), self._tokens
        self._text, self._tokens = [], []
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return text[skipped:], tokens

    def take_part(self) -> pb.Result:
        """Return all that is new since the last call."""
        text, tokens = self.take()
        reasoning, calls = "".join(self._reasoning), self._calls
        self._reasoning, self._calls = [], []
        return pb.Result(text=text, tokens=tokens, reasoning=reasoning, tool_calls=calls)

    def _read(self, piece: str) -> None:
        if self._reading is None:
            if piece:
                self._text.append(self._stop.push(piece))
            return
        reader = self._reading.reader
        reasoned = reader.is_reasoning
        if piece:
            self._note(reader.push(piece))
        self.reasoning_count += reasoned or reader.is_reasoning

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Text(text):
                    self._text.append(self._stop.push(text))
                case Reasoning(text):
                    self._reasoning.append(text)
                case CallBegins(name):
                    index = self._begun_calls
                    self._begun_calls += 1
                    self._calls.append(
                        pb.ToolCallPart(index=index, id=self._call_id(index), name=name)
                    )
                case Arguments(text):
                    self._add_arguments(text)
                case CallEnds():
                    self._whole_calls += 1
            if self._stop.found or self._has_called_enough:
                return

    @property
    def _has_called_enough(self) -> bool:
        return self._reading is not None and self._whole_calls >= self._reading.most_calls

    def _add_arguments(self, text: str) -> None:
        index = self._begun_calls - 1
        if self._calls and self._calls[-1].index == index:
            self._calls[-1].arguments += text
        else:
            self._calls.append(pb.ToolCallPart(index=index, arguments=text))

    def _call_id(self, index: int) -> str:
        return self._reading.call_id(index) if self._reading is not None else ""

    def _end(self, reason: pb.FinishReason) -> None:
        self.finish_reason = reason
        if self._reading is not None and not (self._stop.found or self._has_called_enough):
            self._note(self._reading.reader.finish())
        self._text.append(self._stop.finish())
        if self._whole_calls and reason == pb.FINISH_REASON_STOP:
            self.finish_reason = pb.FINISH_REASON_TOOL_CALLS
