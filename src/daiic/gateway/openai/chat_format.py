"""How a chat's answers are written down."""

import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from daiic.gateway.http.response_writer import EventStream, server_sent_event
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.schema.chat_answer import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatMessage,
)
from daiic.gateway.openai.schema.logprobs import Logprobs
from daiic.gateway.openai.schema.text import Usage, finish_reason
from daiic.gateway.openai.schema.tools import (
    CalledFunction,
    FunctionDelta,
    ToolCall,
    ToolCallDelta,
)
from daiic.gateway.text.tool_calls import whole_calls
from daiic.wire import daiic_pb2 as pb

DONE = b"data: [DONE]\n\n"


class ChatFormat(EventStream):
    """The answers to one request for a chat."""

    __slots__ = ("_about", "_begun", "_wants_usage")

    def __init__(self, request_id: str, model: str, *, wants_usage: bool) -> None:
        super().__init__(error_body)
        self._about = (f"chatcmpl-{request_id}", int(time.time()), model)
        self._begun = 0
        """A bit for each answer whose message has begun."""
        self._wants_usage = wants_usage

    def part(self, index: int, part: pb.Result) -> bytes:
        events = []
        if not self._begun >> index & 1:
            self._begun |= 1 << index
            events.append(self._event(index, ChatDelta(role="assistant", content="")))
        if part.text or part.reasoning or part.tool_calls or part.logprobs:
            delta = ChatDelta(
                content=part.text or None,
                reasoning_content=part.reasoning or None,
                tool_calls=[_call_delta(call) for call in part.tool_calls] or None,
            )
            events.append(self._event(index, delta, part))
        if part.final:
            choice = ChatChunkChoice(index, ChatDelta(), finish_reason(part))
            events.append(self._chunk([choice]))
        return b"".join(events)

    def end(self, usage: pb.Usage) -> bytes:
        return (self._chunk([], Usage.of(usage)) if self._wants_usage else b"") + DONE

    def whole(self, results: Sequence[pb.Result], usage: pb.Usage) -> bytes:
        choices = [
            ChatChoice(index, _message(result), finish_reason(result), Logprobs.of(result))
            for index, result in enumerate(results)
        ]
        return msgspec.json.encode(ChatCompletion(*self._about, choices, Usage.of(usage)))

    def _event(self, index: int, delta: ChatDelta, part: pb.Result | None = None) -> bytes:
        logprobs = Logprobs.of(part) if part is not None else None
        return self._chunk([ChatChunkChoice(index, delta, logprobs=logprobs)])

    def _chunk(self, choices: list[ChatChunkChoice], usage: Usage | None = None) -> bytes:
        return server_sent_event(msgspec.json.encode(ChatChunk(*self._about, choices, usage)))


def _message(result: pb.Result) -> ChatMessage:
    calls = [
        ToolCall(call.id, CalledFunction(call.name, call.arguments))
        for call in whole_calls(result.tool_calls)
    ]
    return ChatMessage(
        result.text if result.text or not calls else None,
        reasoning_content=result.reasoning or UNSET,
        tool_calls=calls or UNSET,
    )


def _call_delta(call: pb.ToolCallPart) -> ToolCallDelta:
    if not call.name:
        return ToolCallDelta(call.index, FunctionDelta(arguments=call.arguments))
    return ToolCallDelta(
        call.index, FunctionDelta(call.name, call.arguments), id=call.id, type="function"
    )
