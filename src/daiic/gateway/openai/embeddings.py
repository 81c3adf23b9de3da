"""POST /v1/embeddings."""

import base64
import sys
from array import array

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.openai.schema.embeddings import (
    Embedding,
    EmbeddingRequest,
    Embeddings,
    EmbeddingUsage,
)
from daiic.gateway.vectors import vectors
from daiic.wire import daiic_pb2 as pb


async def embed(gateway: Gateway, request: EmbeddingRequest, context: RequestContext) -> None:
    """Answer POST /v1/embeddings."""
    task = gateway.task(request.model, stream=False, client=context.client)
    task.embed.inputs.extend(request.texts)
    task.embed.token_inputs.extend(pb.Tokens(tokens=tokens) for tokens in request.tokens)
    task.embed.dimensions = request.dimensions or 0
    task.embed.prompt_name = request.prompt
    embedded, read, model = await vectors(gateway, task, context)
    as_base64 = request.encoding_format == "base64"
    data = [
        Embedding(index, _base64(vector) if as_base64 else list(vector.values))
        for index, vector in enumerate(embedded)
    ]
    await context.response.send_json(Embeddings(model, data, EmbeddingUsage(read, read)))


def _base64(vector: pb.Embedding) -> str:
    floats = array("f", vector.values)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode("ascii")
