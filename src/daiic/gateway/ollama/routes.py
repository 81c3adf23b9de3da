"""Every route of Ollama's API that a cluster can serve."""

from functools import partial

from starlette.routing import Route

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.get_route import get_route
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.gateway.http.post_endpoint import Answer, Request
from daiic.gateway.monitoring.activity import Endpoint
from daiic.gateway.ollama.embeddings import embed, embed_one
from daiic.gateway.ollama.errors import error_body
from daiic.gateway.ollama.models import delete, list_loaded, list_tags, show, version
from daiic.gateway.ollama.pull import pull
from daiic.gateway.ollama.schema.request import (
    ChatRequest,
    DeleteRequest,
    EmbedRequest,
    GenerateRequest,
    OldEmbedRequest,
    PullRequest,
    ShowRequest,
)
from daiic.gateway.ollama.texts import chat, generate
from daiic.work import WORK


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes."""

    def post(
        path: str, name: Endpoint, work: str, body: type[Request], answer: Answer[Request]
    ) -> Route:
        endpoint = JsonEndpoint(gateway, name, WORK[work], body, answer, error_body)
        return Route(path, endpoint, methods=["POST"])

    deletion = JsonEndpoint(gateway, "manage", WORK["manage"], DeleteRequest, delete, error_body)
    return [
        post("/api/chat", "chat", "text", ChatRequest, chat),
        post("/api/generate", "completion", "text", GenerateRequest, generate),
        post("/api/embed", "embedding", "embed", EmbedRequest, embed),
        post("/api/embeddings", "embedding", "embed", OldEmbedRequest, embed_one),
        post("/api/pull", "load", "load", PullRequest, pull),
        Route("/api/delete", deletion, methods=["DELETE"]),
        post("/api/show", "models", "load", ShowRequest, show),
        get_route("/api/tags", partial(list_tags, gateway)),
        get_route("/api/ps", partial(list_loaded, gateway)),
        get_route("/api/version", version),
    ]
