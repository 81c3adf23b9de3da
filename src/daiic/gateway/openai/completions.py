"""POST /v1/completions."""

import time
from collections.abc import Sequence

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import server_sent_event
from daiic.gateway.openai.schema.completions import Completion, CompletionChoice, CompletionRequest
from daiic.gateway.openai.schema.text import FinishReason, Usage, finish_reason
from daiic.gateway.openai.text_generation import answer_text, text_task
from daiic.wire import daiic_pb2 as pb


async def complete(gateway: Gateway, request: CompletionRequest, context: RequestContext) -> None:
    """Answer POST /v1/completions."""
    tasks = []
    for prompt in request.prompts:
        task = text_task(gateway, request, context)
        task.text.prompt = prompt
        tasks.append(task)
    answer_format = _CompletionFormat(
        f"cmpl-{context.activity.id}", int(time.time()), request.model
    )
    await answer_text(gateway, request, tasks, answer_format, context)


class _CompletionFormat:
    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._about = (answer_id, created, model)

    def opening(self, index: int) -> bytes:
        return b""

    def part(self, index: int, text: str, reason: FinishReason | None) -> bytes:
        choice = CompletionChoice(index, text, reason)
        return server_sent_event(msgspec.json.encode(Completion(*self._about, [choice])))

    def usage(self, total: Usage) -> bytes:
        return server_sent_event(msgspec.json.encode(Completion(*self._about, [], total)))

    def whole(self, results: Sequence[pb.Result], total: Usage) -> Completion:
        choices = [
            CompletionChoice(index, result.text, finish_reason(result))
            for index, result in enumerate(results)
        ]
        return Completion(*self._about, choices, total)
