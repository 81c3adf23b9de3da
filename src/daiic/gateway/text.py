"""Chat and plain completions: one task for each answer, formatted as each API wants it."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from daiic.gateway.bounds import ANSWERS
from daiic.gateway.errors import ApiError
from daiic.gateway.gateway import Gateway
from daiic.gateway.json_endpoint import Call
from daiic.gateway.reply import event
from daiic.gateway.requests import ChatRequest, CompletionRequest, Sampling
from daiic.gateway.responses import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatMessage,
    Completion,
    CompletionChoice,
    FinishReason,
    Usage,
    finish_reason,
    usage,
)
from daiic.wire import daiic_pb2 as pb

DONE = b"data: [DONE]\n\n"


async def chat(gateway: Gateway, request: ChatRequest, call: Call) -> None:
    """Answer POST /v1/chat/completions."""
    task = _task(gateway, request, call)
    for index, message in enumerate(request.messages):
        role = "system" if message.role == "developer" else message.role
        task.text.messages.add(role=role, content=message.text(f"messages[{index}]"))
    form = _ChatForm(f"chatcmpl-{call.activity.id}", int(time.time()), request.model)
    await _answer(gateway, request, [task], form, call)


async def complete(gateway: Gateway, request: CompletionRequest, call: Call) -> None:
    """Answer POST /v1/completions."""
    tasks = []
    for prompt in request.prompts:
        task = _task(gateway, request, call)
        task.text.prompt = prompt
        tasks.append(task)
    form = _CompletionForm(f"cmpl-{call.activity.id}", int(time.time()), request.model)
    await _answer(gateway, request, tasks, form, call)


def _task(gateway: Gateway, request: Sampling, call: Call) -> pb.Task:
    task = gateway.task(request.model, pb.TEXT, stream=bool(request.stream), client=call.client)
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


class _Form(Protocol):
    """How an API writes down answers; `index` tells them apart."""

    def opening(self, index: int) -> bytes: ...

    def part(self, index: int, text: str, reason: FinishReason | None) -> bytes: ...

    def usage(self, total: Usage) -> bytes: ...

    def whole(self, results: Sequence[pb.Result], total: Usage) -> msgspec.Struct: ...


async def _answer(
    gateway: Gateway,
    request: Sampling,
    tasks: list[pb.Task],
    form: _Form,
    call: Call,
) -> None:
    n = request.n or 1
    tasks = _repeated(tasks, n, request.seed)
    if request.stream:
        call.reply.open_stream()
        results = await _together(
            [_stream(gateway, index, task, form, call) for index, task in enumerate(tasks)]
        )
    else:
        results = await _together([gateway.cluster.answer(task) for task in tasks])
        for result in results:
            call.activity.output(result.worker_id, result.usage.completion_tokens)
    total = usage(results, n)
    gateway.activity.count_tokens(request.model, total.prompt_tokens, total.completion_tokens)
    if not request.stream:
        await call.reply.json(form.whole(results, total))
    else:
        end = form.usage(total) if request.wants_usage else b""
        await call.reply.write(end + DONE, last=True)


async def _stream(
    gateway: Gateway, index: int, task: pb.Task, form: _Form, call: Call
) -> pb.Result:
    """Send the events of one answer; return its last part."""
    opening = form.opening(index)
    async with contextlib.aclosing(gateway.cluster.bursts(task)) as bursts:
        async for burst in bursts:
            events = []
            for part in burst:
                if not part.text and not part.final:
                    continue
                call.activity.output(part.worker_id, len(part.tokens), streamed=True)
                if part.text:
                    events.append(form.part(index, part.text, None))
                if part.final:
                    events.append(form.part(index, "", finish_reason(part)))
            if events:
                await call.reply.write(opening + b"".join(events))
                opening = b""
    return part


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


class _ChatForm:
    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._about = (answer_id, created, model)

    def opening(self, index: int) -> bytes:
        return self._event(ChatChunkChoice(index, ChatDelta(role="assistant", content="")))

    def part(self, index: int, text: str, reason: FinishReason | None) -> bytes:
        delta = ChatDelta() if reason else ChatDelta(content=text)
        return self._event(ChatChunkChoice(index, delta, reason))

    def usage(self, total: Usage) -> bytes:
        return event(msgspec.json.encode(ChatChunk(*self._about, [], total)))

    def whole(self, results: Sequence[pb.Result], total: Usage) -> ChatCompletion:
        choices = [
            ChatChoice(index, ChatMessage(result.text), finish_reason(result))
            for index, result in enumerate(results)
        ]
        return ChatCompletion(*self._about, choices, total)

    def _event(self, choice: ChatChunkChoice) -> bytes:
        return event(msgspec.json.encode(ChatChunk(*self._about, [choice])))


class _CompletionForm:
    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._about = (answer_id, created, model)

    def opening(self, index: int) -> bytes:
        return b""

    def part(self, index: int, text: str, reason: FinishReason | None) -> bytes:
        choice = CompletionChoice(index, text, reason)
        return event(msgspec.json.encode(Completion(*self._about, [choice])))

    def usage(self, total: Usage) -> bytes:
        return event(msgspec.json.encode(Completion(*self._about, [], total)))

    def whole(self, results: Sequence[pb.Result], total: Usage) -> Completion:
        choices = [
            CompletionChoice(index, result.text, finish_reason(result))
            for index, result in enumerate(results)
        ]
        return Completion(*self._about, choices, total)
