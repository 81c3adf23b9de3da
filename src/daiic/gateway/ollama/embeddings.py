"""POST /api/embed, and /api/embeddings, which came before it."""

import time

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.ollama.schema.answer import Embeddings, OldEmbedding
from daiic.gateway.ollama.schema.request import EmbedRequest, OldEmbedRequest
from daiic.gateway.vectors import vectors
from daiic.wire import daiic_pb2 as pb


async def embed(gateway: Gateway, request: EmbedRequest, context: RequestContext) -> None:
    """Answer POST /api/embed."""
    began = time.monotonic_ns()
    inputs = [request.input] if isinstance(request.input, str) else request.input
    embedded: list[list[float]] = []
    read, model = 0, request.model
    if inputs:
        asked = pb.EmbedTask(inputs=inputs, dimensions=request.dimensions or 0)
        embedded, read, model = await _embedded(gateway, request.model, asked, context)
    took = time.monotonic_ns() - began
    await context.response.send_json(Embeddings(model, embedded, took, 0, read))


async def embed_one(gateway: Gateway, request: OldEmbedRequest, context: RequestContext) -> None:
    """Answer POST /api/embeddings."""
    asked = pb.EmbedTask(inputs=[request.prompt])
    [vector], _, _ = await _embedded(gateway, request.model, asked, context)
    await context.response.send_json(OldEmbedding(vector))


async def _embedded(
    gateway: Gateway, model: str, asked: pb.EmbedTask, context: RequestContext
) -> tuple[list[list[float]], int, str]:
    """Return the vectors, how many tokens were read, and the model that did."""
    task = gateway.task(model, stream=False, client=context.client)
    task.embed.CopyFrom(asked)
    embedded, read, answered_by = await vectors(gateway, task, context)
    return [list(vector.values) for vector in embedded], read, answered_by
