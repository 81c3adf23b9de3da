"""How a chat's answers are written down."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from daiic.gateway.http.response_writer import EventStream, server_sent_event
from daiic.gateway.openai.about import About
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
        self._about = About(f"chatcmpl-{request_id}", model)
        self._begun = 0
        """A bit for each answer whose message has begun."""
        self._wants_usage = wants_usage

    def part(self, index: int, part: pb.Result) -> bytes:
        events = b""
        if not self._begun >> index & 1:
            self._begun |= 1 << index
            self._about.note(index, part)
            events += self._event(ChatChunkChoice(index, ChatDelta("assistant", "")))
        # Each look into a message costs about as much as writing a small event.
        text, reasoning, calls, told = part.text, part.reasoning, part.tool_calls, part.logprobs
        if text or reasoning or calls or told:
            delta = ChatDelta(
                None,
                text or None,
                reasoning or None,
                [_call_delta(call) for call in calls] if calls else None,
            )
            logprobs = Logprobs.of(part) if told else None
            events += self._event(ChatChunkChoice(index, delta, None, logprobs))
        if part.final:
            events += self._event(ChatChunkChoice(index, ChatDelta(), finish_reason(part)))
        return events

    def end(self, usage: pb.Usage) -> bytes:
        if not self._wants_usage:
            return DONE
        told = ChatChunk(*self._about.of(0), [], Usage.of(usage))
        return server_sent_event(msgspec.json.encode(told)) + DONE

    def whole(self, results: Sequence[pb.Result], usage: pb.Usage) -> bytes:
        choices = [
            ChatChoice(index, _message(result), finish_reason(result), Logprobs.of(result))
            for index, result in enumerate(results)
        ]
        self._about.note(0, results[0])
        return msgspec.json.encode(ChatCompletion(*self._about.of(0), choices, Usage.of(usage)))

    def _event(self, choice: ChatChunkChoice) -> bytes:
        about = self._about.of(choice.index)
        return server_sent_event(msgspec.json.encode(ChatChunk(*about, [choice])))


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
