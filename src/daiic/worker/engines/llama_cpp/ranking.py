"""Scores of documents for a query, as llama-server makes them."""

from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.embedding import length_of, refuse_long
from daiic.worker.engines.llama_cpp.rendering import Server
from daiic.worker.engines.text.checks import check_ranking


async def rank(server: Server, task: pb.RerankTask, context: int) -> pb.Result:
    """Return the whole answer: the score of each document, in their order, as the model gives it.

    The model takes a query with a document of `context` tokens at most.

    Raises:
        TaskError: BAD_REQUEST for what cannot be ranked, or is too long.
    """
    check_ranking(task)
    documents = list(task.documents)
    body = {"query": task.query, "documents": documents, "top_n": len(documents)}
    # It answers nothing at all if one pair is too long.
    await refuse_long(server, [task.query], context // 2)
    await refuse_long(server, documents, context - await length_of(server, task.query))
    reply = await server.post("/v1/rerank", body)
    results: Any = reply.get("results") or []
    scores = {int(one["index"]): float(one["relevance_score"]) for one in results}
    return pb.Result(
        final=True,
        scores=[scores[index] for index in range(len(documents))],
        usage=pb.Usage(prompt_tokens=int((reply.get("usage") or {}).get("prompt_tokens", 0))),
    )
