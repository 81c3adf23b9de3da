"""How an answer is written down as a message."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec

from daiic.gateway.anthropic.errors import error_body
from daiic.gateway.anthropic.schema import answer
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.response_writer import server_sent_event
from daiic.gateway.text.tool_calls import complete_calls
from daiic.wire import daiic_pb2 as pb


class MessageFormat:
    """The answer to one request; a stream has its blocks one after the other."""

    media_type: ClassVar[bytes] = b"text/event-stream; charset=utf-8"
    comment: ClassVar[bytes] = server_sent_event(b'{"type":"ping"}', "ping")

    def __init__(self, request_id: str, model: str, *, shows_thinking: bool) -> None:
        self._id = f"msg_{request_id}"
        self._model = model
        self._shows_thinking = shows_thinking
        self._begun = False
        self._index = -1
        self._open: object = None
        """What the block that is not complete is: "text", "thinking", or the number of a call."""
        self._reason: answer.StopReason = "end_turn"

    def part(self, index: int, part: pb.Result) -> bytes:
        """See `AnswerFormat`."""
        return b"".join(_event(event) for event in self._events(part))

    def end(self, usage: pb.Usage) -> bytes:
        """See `AnswerFormat`."""
        events = [
            *self._closed(),
            answer.MessageDelta(answer.Ending(self._reason), answer.Usage.of(usage)),
            answer.MessageStop(),
        ]
        return b"".join(map(_event, events))

    def whole(self, results: Sequence[pb.Result], usage: pb.Usage) -> bytes:
        """See `AnswerFormat`."""
        (result,) = results
        self._model = result.model_name or self._model
        content: list[answer.Block] = []
        if result.reasoning and self._shows_thinking:
            content.append(answer.ThinkingBlock(result.reasoning))
        calls = complete_calls(result.tool_calls)
        if result.text or not calls:
            content.append(answer.TextBlock(result.text))
        content.extend(
            answer.ToolUseBlock(call.id, call.name, msgspec.Raw(call.arguments.encode()))
            for call in calls
        )
        reason = answer.stop_reason(result)
        message = self._message(content, answer.Usage.of(usage), reason)
        return msgspec.json.encode(message)

    def error(self, error: ApiError) -> bytes:
        """See `StreamFormat`."""
        return server_sent_event(error_body(error), "error")

    def _events(self, part: pb.Result) -> Iterator[msgspec.Struct]:
        if not self._begun:
            self._begun = True
            self._model = part.model_name or self._model
            yield answer.MessageStart(self._message([], answer.Usage(0, 0)))
        if part.reasoning and self._shows_thinking:
            yield from self._block("thinking", answer.ThinkingBlock(""))
            yield self._delta(answer.ThinkingDelta(part.reasoning))
        if part.text:
            yield from self._block("text", answer.TextBlock(""))
            yield self._delta(answer.TextDelta(part.text))
        for call in part.tool_calls:
            yield from self._block(call.index, answer.ToolUseBlock(call.id, call.name, {}))
            if call.arguments:
                yield self._delta(answer.InputDelta(call.arguments))
        if part.final:
            self._reason = answer.stop_reason(part)

    def _block(self, what: object, empty: answer.Block) -> Iterator[msgspec.Struct]:
        """Yield what comes before a piece of the block `what`: its beginning, unless it is open."""
        if self._open == what:
            return
        yield from self._closed()
        self._index += 1
        self._open = what
        yield answer.BlockStart(self._index, empty)

    def _closed(self) -> Iterator[msgspec.Struct]:
        if self._open is not None:
            self._open = None
            yield answer.BlockStop(self._index)

    def _delta(self, delta: answer.Delta) -> msgspec.Struct:
        return answer.BlockDelta(self._index, delta)

    def _message(
        self,
        content: list[answer.Block],
        usage: answer.Usage,
        reason: answer.StopReason | None = None,
    ) -> answer.Message:
        return answer.Message(self._id, self._model, content, usage, reason)


def _event(event: msgspec.Struct) -> bytes:
    return server_sent_event(msgspec.json.encode(event), str(event.__struct_config__.tag))
