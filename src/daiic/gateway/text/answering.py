"""Runs the text tasks of one request and sends their answers, whole or as a stream."""

import asyncio
import contextlib
import re
from collections.abc import Coroutine, Mapping
from typing import Any

from daiic.errors import TaskError
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.text.answer_format import AnswerFormat
from daiic.gateway.text.usage import total_usage
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

NO_NAMES: Mapping[str, str] = {}
_QUOTED = re.compile(r"`([^`]+)`")


async def answer_text(
    gateway: Gateway,
    tasks: list[pb.Task],
    answer_format: AnswerFormat,
    context: RequestContext,
    *,
    answers_each: int = 1,
    field_names: Mapping[str, str] = NO_NAMES,
) -> None:
    """Run `tasks` at once and send their answers: as a stream if the tasks are streamed.

    Of `tasks`, `answers_each` in a row have the same prompt. `field_names` are what the request
    calls the fields of a task, so that an error of a worker can name the one at fault.

    Raises:
        ApiError: if an answer starts over when some of it has been sent, or a worker finds
            fault with the request.
        TaskError: if a task ends without an answer for another reason.
    """
    try:
        await _answer(gateway, tasks, answer_format, context, answers_each)
    except TaskError as error:
        param = _field_in(error, field_names)
        if param is None:
            raise
        refused = gateway.explain(error)
        refused.param = param
        raise refused from error


async def _answer(
    gateway: Gateway,
    tasks: list[pb.Task],
    answer_format: AnswerFormat,
    context: RequestContext,
    answers_each: int,
) -> None:
    stream = tasks[0].stream
    if stream:
        context.response.start_stream(answer_format)
        results = await _together(
            [
                _stream(gateway, index, task, answer_format, context)
                for index, task in enumerate(tasks)
            ]
        )
    else:
        results = await _together([gateway.cluster.answer(task) for task in tasks])
        for result in results:
            result.model_name = shown(result.model_name)
            context.activity.output(result.worker_id, result.usage.completion_tokens)
    usage = total_usage(results, answers_each)
    gateway.activity.count_tokens(
        context.activity.model, usage.prompt_tokens, usage.completion_tokens
    )
    if stream:
        await context.response.write(answer_format.end(usage), last=True)
    else:
        await context.response.send(answer_format.whole(results, usage))


async def _stream(
    gateway: Gateway,
    index: int,
    task: pb.Task,
    answer_format: AnswerFormat,
    context: RequestContext,
) -> pb.Result:
    """Send one answer part by part; return its last part."""
    begun = False
    model = ""
    async with contextlib.aclosing(gateway.cluster.bursts(task)) as bursts:
        async for burst in bursts:
            written, made, worker = b"", 0, None
            for part in _valid(burst, begun):
                if not begun:
                    model = part.model_name if part.started_over else part.model_name or model
                    part.model_name = shown(model)
                if part.text or part.final or part.reasoning or part.tool_calls or part.logprobs:
                    begun = True
                    written += answer_format.part(index, part)
                    made += len(part.tokens)
                    worker = part.worker_id
            if worker is not None:
                context.activity.output(worker, made, streamed=True)
            if written:
                await context.response.write(written)
    return burst[-1]


def _field_in(error: TaskError, names: Mapping[str, str]) -> str | None:
    """Return the first of the fields that a refusal quotes, by its name in the request."""
    if error.code != pb.BAD_REQUEST:
        return None
    return next((names[said] for said in _QUOTED.findall(error.message) if said in names), None)


def _valid(burst: list[pb.Result], begun: bool) -> list[pb.Result]:
    """Return the parts of `burst` that later ones do not void.

    Raises:
        ApiError: if some that was sent is void, as the answer was `begun`.
    """
    for place in range(len(burst) - 1, -1, -1):
        if burst[place].started_over:
            if begun:
                raise started_over()
            return burst[place:]
    return burst


def started_over() -> ApiError:
    """Return what is said when an answer starts over of which some has been sent."""
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
