"""Chat and plain completions: one task for each answer, formatted as each API wants it."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.limits import ANSWERS
from daiic.gateway.openai.schema.text import (
    FinishReason,
    TextRequest,
    Usage,
    finish_reason,
    usage,
)
from daiic.wire import daiic_pb2 as pb

DONE = b"data: [DONE]\n\n"


def text_task(gateway: Gateway, request: TextRequest, context: RequestContext) -> pb.Task:
    """Return a task with the request's model and sampling, without its text."""
    task = gateway.task(request.model, stream=bool(request.stream), client=context.client)
    text = task.text
    text.max_tokens = request.limit
    text.stop.extend(request.stops)
    if request.temperature is not None:
        text.temperature = request.temperature
    if request.top_p is not None:
        text.top_p = request.top_p
    if request.top_k is not None:
        text.top_k = request.top_k
    return task


def _repeated(tasks: list[pb.Task], n: int, seed: int | None) -> list[pb.Task]:
    """Return `n` tasks for each; with a seed, each of the `n` gets its own, derived from it."""
    if len(tasks) * n > ANSWERS:
        raise ApiError(
            400, f"n: {len(tasks)} prompts times {n} is more than {ANSWERS} answers", param="n"
        )
    repeated = []
    for task in tasks:
        for choice in range(n):
            copy = pb.Task()
            copy.CopyFrom(task)
            if seed is not None:
                copy.text.seed = (seed + choice) % 2**64
            repeated.append(copy)
    return repeated


class AnswerFormat(Protocol):
    """How an API writes down answers; `index` tells them apart."""

    def opening(self, index: int) -> bytes: ...

    def part(self, index: int, text: str, reason: FinishReason | None) -> bytes: ...

    def usage(self, total: Usage) -> bytes: ...

    def whole(self, results: Sequence[pb.Result], total: Usage) -> msgspec.Struct: ...


async def answer_text(
    gateway: Gateway,
    request: TextRequest,
    tasks: list[pb.Task],
    answer_format: AnswerFormat,
    context: RequestContext,
) -> None:
    """Run each task `n` times and send all answers, whole or as a stream."""
    n = request.n or 1
    tasks = _repeated(tasks, n, request.seed)
    if request.stream:
        context.response.start_stream()
        results = await _together(
            [
                _stream(gateway, index, task, answer_format, context)
                for index, task in enumerate(tasks)
            ]
        )
    else:
        results = await _together([gateway.cluster.answer(task) for task in tasks])
        for result in results:
            context.activity.output(result.worker_id, result.usage.completion_tokens)
    total = usage(results, n)
    gateway.activity.count_tokens(request.model, total.prompt_tokens, total.completion_tokens)
    if not request.stream:
        await context.response.send_json(answer_format.whole(results, total))
    else:
        end = answer_format.usage(total) if request.wants_usage else b""
        await context.response.write(end + DONE, last=True)


async def _stream(
    gateway: Gateway,
    index: int,
    task: pb.Task,
    answer_format: AnswerFormat,
    context: RequestContext,
) -> pb.Result:
    """Send the events of one answer; return its last part.

    Raises:
        ApiError: if the answer starts over when some of it has been sent.
    """
    opening = answer_format.opening(index)
    sent = False
    async with contextlib.aclosing(gateway.cluster.bursts(task)) as bursts:
        async for burst in bursts:
            events: list[bytes] = []
            for part in burst:
                if part.started_over:
                    if sent:
                        raise _started_over()
                    events.clear()
                if not part.text and not part.final:
                    continue
                context.activity.output(part.worker_id, len(part.tokens), streamed=True)
                if part.text:
                    events.append(answer_format.part(index, part.text, None))
                if part.final:
                    events.append(answer_format.part(index, "", finish_reason(part)))
            if events:
                await context.response.write(opening + b"".join(events))
                opening, sent = b"", True
    return part


def _started_over() -> ApiError:
    return ApiError(
        502,
        "the worker that wrote this answer was lost, and another model has begun it again: "
        "discard what was sent of it and send the request again",
        type=SERVER,
        code="answer_started_over",
    )


async def _together(jobs: list[Coroutine[Any, Any, pb.Result]]) -> list[pb.Result]:
    """Return the results of all jobs; the first that fails ends the others."""
    if len(jobs) == 1:
        return [await jobs[0]]
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in running]
