"""The routes of reranking."""

from functools import partial

from starlette.routing import Route

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.gateway.openai.errors import error_body
from daiic.gateway.reranking.rerank import rerank
from daiic.gateway.reranking.schema import RerankRequest
from daiic.work import WORK

PATHS = {"/v1/rerank": True, "/rerank": True, "/v2/rerank": False}
"""Whether results have their documents by default: Jina's do, Cohere's do not."""


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes; errors have OpenAI's shape, as everywhere."""
    return [
        Route(
            path,
            JsonEndpoint(
                gateway,
                "rerank",
                WORK["rerank"],
                RerankRequest,
                partial(rerank, returns_documents),
                error_body,
            ),
            methods=["POST"],
        )
        for path, returns_documents in PATHS.items()
    ]
