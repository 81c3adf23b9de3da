"""POST /api/embed, and /api/embeddings, which came before it."""

import time

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.ollama.schema.answer import Embeddings, OldEmbedding
from daiic.gateway.ollama.schema.request import EmbedRequest, OldEmbedRequest
from daiic.wire import daiic_pb2 as pb


async def embed(gateway: Gateway, request: EmbedRequest, context: RequestContext) -> None:
    """Answer POST /api/embed."""
    began = time.monotonic_ns()
    inputs = [request.input] if isinstance(request.input, str) else request.input
    vectors, read = [], 0
    if inputs:
        task = pb.EmbedTask(inputs=inputs, dimensions=request.dimensions or 0)
        result = await _embedded(gateway, request.model, task, context)
        vectors, read = _lists(result), result.usage.prompt_tokens
    took = time.monotonic_ns() - began
    await context.response.send_json(Embeddings(request.model, vectors, took, 0, read))


async def embed_one(gateway: Gateway, request: OldEmbedRequest, context: RequestContext) -> None:
    """Answer POST /api/embeddings."""
    task = pb.EmbedTask(inputs=[request.prompt])
    result = await _embedded(gateway, request.model, task, context)
    await context.response.send_json(OldEmbedding(_lists(result)[0]))


async def _embedded(
    gateway: Gateway, model: str, asked: pb.EmbedTask, context: RequestContext
) -> pb.Result:
    task = gateway.task(model, stream=False, client=context.client)
    task.embed.CopyFrom(asked)
    result = await gateway.cluster.answer(task)
    context.activity.output(result.worker_id, len(result.embeddings))
    gateway.activity.count_tokens(context.activity.model, result.usage.prompt_tokens, 0)
    return result


def _lists(result: pb.Result) -> list[list[float]]:
    return [list(vector.values) for vector in result.embeddings]
