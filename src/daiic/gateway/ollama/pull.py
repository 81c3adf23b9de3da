"""POST /api/pull: a worker downloads a model and loads it."""

import contextlib

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.ollama.lines import Lines, line
from daiic.gateway.ollama.schema.answer import Progress
from daiic.gateway.ollama.schema.request import PullRequest

WORDS = {"download": "downloading", "load": "loading"}
"""What Ollama's clients show of the phases that workers tell."""


async def pull(gateway: Gateway, request: PullRequest, context: RequestContext) -> None:
    """Answer POST /api/pull."""
    streamed = request.stream is not False
    task = gateway.task(request.model, stream=streamed, client=context.client)
    task.load.SetInParent()
    if not streamed:
        result = await gateway.cluster.answer(task)
        context.activity.output(result.worker_id, 1)
        await context.response.send_json(Progress("success"))
        return
    context.response.start_stream(Lines())
    async with contextlib.aclosing(gateway.cluster.run(task)) as parts:
        async for part in parts:
            if part.HasField("progress"):
                told = part.progress
                status = WORDS.get(told.phase, told.phase)
                await context.response.write(line(Progress(status, told.total, told.done)))
    context.activity.output(part.worker_id, 1)
    await context.response.write(line(Progress("success")), last=True)
