"""POST /v1/rerank and /rerank, as Jina has them, and /v2/rerank, as Cohere has it."""

import math
import uuid

from daiic.errors import TaskError
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.reranking.schema import (
    Ranked,
    Reranked,
    RerankMeta,
    RerankRequest,
    RerankUsage,
    TextDocument,
    TokensRead,
)
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb


async def rerank(
    returns_documents: bool, gateway: Gateway, request: RerankRequest, context: RequestContext
) -> None:
    """Answer a request; `returns_documents` says whether results have their texts by default."""
    texts = request.texts
    task = gateway.task(request.model, stream=False, client=context.client)
    task.rerank.query = request.query
    task.rerank.documents.extend(texts)
    result = await gateway.cluster.answer(task)
    scores = list(result.scores)
    if len(scores) != len(texts) or not all(map(math.isfinite, scores)):
        raise TaskError(
            pb.INTERNAL, f"{request.model} gave no score for each document", "choose another model"
        )
    read = result.usage.prompt_tokens
    context.activity.output(result.worker_id, len(scores))
    gateway.activity.count_tokens(request.model, read, 0)
    wanted = request.return_documents
    with_text = returns_documents if wanted is None else wanted
    best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[: request.top_n]
    ranked = [
        Ranked(index, scores[index], TextDocument(texts[index]) if with_text else None)
        for index in best
    ]
    await context.response.send_json(
        Reranked(
            str(uuid.uuid4()),
            shown(result.model_name) or request.model,
            ranked,
            RerankUsage(read, read),
            RerankMeta(TokensRead(read)),
        )
    )
