"""POST /v1/chat/completions."""

import time
from collections.abc import Sequence

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import server_sent_event
from daiic.gateway.openai.schema.chat import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatMessage,
    ChatRequest,
)
from daiic.gateway.openai.schema.text import FinishReason, Usage, finish_reason
from daiic.gateway.openai.text_generation import answer_text, text_task
from daiic.wire import daiic_pb2 as pb


async def chat(gateway: Gateway, request: ChatRequest, context: RequestContext) -> None:
    """Answer POST /v1/chat/completions."""
    task = text_task(gateway, request, context)
    for index, message in enumerate(request.messages):
        role = "system" if message.role == "developer" else message.role
        task.text.messages.add(role=role, content=message.text(f"messages[{index}]"))
    answer_format = _ChatFormat(f"chatcmpl-{context.activity.id}", int(time.time()), request.model)
    await answer_text(gateway, request, [task], answer_format, context)


class _ChatFormat:
    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._about = (answer_id, created, model)

    def opening(self, index: int) -> bytes:
        return self._event(ChatChunkChoice(index, ChatDelta(role="assistant", content="")))

    def part(self, index: int, text: str, reason: FinishReason | None) -> bytes:
        delta = ChatDelta() if reason else ChatDelta(content=text)
        return self._event(ChatChunkChoice(index, delta, reason))

    def usage(self, total: Usage) -> bytes:
        return server_sent_event(msgspec.json.encode(ChatChunk(*self._about, [], total)))

    def whole(self, results: Sequence[pb.Result], total: Usage) -> ChatCompletion:
        choices = [
            ChatChoice(index, ChatMessage(result.text), finish_reason(result))
            for index, result in enumerate(results)
        ]
        return ChatCompletion(*self._about, choices, total)

    def _event(self, choice: ChatChunkChoice) -> bytes:
        return server_sent_event(msgspec.json.encode(ChatChunk(*self._about, [choice])))
