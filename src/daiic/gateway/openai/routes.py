"""Every route of OpenAI's API."""

from functools import partial

from starlette.routing import Route

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.get_route import get_route
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.gateway.http.post_endpoint import Answer, Request
from daiic.gateway.monitoring.activity import Endpoint
from daiic.gateway.openai import images
from daiic.gateway.openai.audio import routes as audio
from daiic.gateway.openai.chat import chat
from daiic.gateway.openai.completions import complete
from daiic.gateway.openai.embeddings import embed
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.image_files import FILES, serve_file
from daiic.gateway.openai.image_store import ImageStore
from daiic.gateway.openai.models import list_models, show_model
from daiic.gateway.openai.responses import kept
from daiic.gateway.openai.responses.create import respond
from daiic.gateway.openai.responses.store import ResponseStore
from daiic.gateway.openai.schema.chat import ChatRequest
from daiic.gateway.openai.schema.completions import CompletionRequest
from daiic.gateway.openai.schema.embeddings import EmbeddingRequest
from daiic.gateway.openai.schema.response_request import ResponseRequest
from daiic.work import WORK


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes."""
    settings = gateway.settings
    store = ImageStore(settings.image_ttl, settings.image_store_bytes)
    responses = ResponseStore()

    def post(
        path: str, name: Endpoint, work: str, body: type[Request], answer: Answer[Request]
    ) -> Route:
        endpoint = JsonEndpoint(gateway, name, WORK[work], body, answer, error_body)
        return Route(path, endpoint, methods=["POST"])

    return [
        post("/v1/chat/completions", "chat", "text", ChatRequest, chat),
        post("/v1/completions", "completion", "text", CompletionRequest, complete),
        post("/v1/responses", "response", "text", ResponseRequest, partial(respond, responses)),
        *kept.routes(responses),
        *images.routes(gateway, store),
        *audio.routes(gateway),
        post("/v1/embeddings", "embedding", "embed", EmbeddingRequest, embed),
        get_route(f"{FILES}/{{file}}", partial(serve_file, store)),
        get_route("/v1/models", partial(list_models, gateway)),
        get_route("/v1/models/{name:path}", partial(show_model, gateway)),
    ]
