"""A task answered through llama-server's chat endpoint."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.chat_answer import ChatAnswer
from daiic.worker.engines.llama_cpp.chat_request import Template, chat_fields, said_before
from daiic.worker.engines.llama_cpp.rendering import Rendering, Server

PATH = "/v1/chat/completions"
COUNT = "/v1/chat/completions/input_tokens"

Parts = AsyncGenerator[pb.Result, None]


async def chat_body(
    server: Server, task: pb.Task, template: Template, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the request that the conversation in `task` makes, after what was delivered of it.

    `fields` are those that come from its parameters and constraint.

    Raises:
        TaskError: BAD_REQUEST for what no template could take; UNSUPPORTED for what this cannot.
    """
    text, resume = task.text, task.resume
    delivered = ""
    if resume.tokens:
        reply = await server.post("/detokenize", {"tokens": list(resume.tokens)})
        delivered = str(reply.get("content", ""))
    asked = await asyncio.to_thread(
        chat_fields,
        text,
        template,
        constrained="json_schema" in fields or "grammar" in fields,
        said=said_before(delivered, resume.text),
    )
    return {
        "n_probs": 1,  # it tells tokens only beside their probabilities
        **fields,
        **asked,
        **({"stop": list(text.stop)} if text.stop else {}),
        "stream_options": {"include_usage": True},
    }


async def tokens_of(server: Server, body: Mapping[str, Any], rendering: Rendering) -> int:
    """Return how many tokens llama-server makes of the conversation in `body`, images included.

    Raises:
        TaskError: BAD_REQUEST if the template cannot take it.
    """
    return int((await rendering.answered(server, COUNT, body)).get("input_tokens", 0))


async def chat(
    server: Server,
    task: pb.Task,
    body: Mapping[str, Any],
    prompt_tokens: int,
    rendering: Rendering,
    count: Callable[[Mapping[str, Any]], None],
) -> Parts:
    """Yield the parts of the answer to `body`, the request that `task` makes.

    It is `prompt_tokens` long, without what was delivered before; `count` gets the answer's
    timings.
    """
    sampling, made = task.text.sampling, len(task.resume.tokens)
    wanted = sampling.logprobs if sampling.HasField("logprobs") else None
    answer = ChatAnswer(resumed=made, logprobs=wanted, tools="tools" in body)
    if not body["max_tokens"]:
        yield answer.ended_before(prompt_tokens)
        return
    async with contextlib.aclosing(rendering.stream(server, PATH, body)) as events:
        async for event in events:
            if "timings" in event:
                count(event["timings"])
            part = answer.push(event)
            if part is not None:
                yield part
    yield answer.final()
