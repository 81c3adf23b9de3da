"""The routes, and the layers around them."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from daiic.gateway import models, openapi
from daiic.gateway.embeddings import embed
from daiic.gateway.errors import ApiError
from daiic.gateway.front_door import FrontDoor
from daiic.gateway.gateway import Gateway
from daiic.gateway.images import FILES, generate, serve_file
from daiic.gateway.json_endpoint import JsonEndpoint
from daiic.gateway.limits import Limits
from daiic.gateway.live import LiveView
from daiic.gateway.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ImageRequest,
)
from daiic.gateway.revocation import Revocation
from daiic.gateway.site import Site
from daiic.gateway.text import chat, complete
from daiic.shown import MESSAGE, shown

Handler = Callable[[Request], Response]


def build(
    gateway: Gateway,
    live: LiveView,
    keys: Revocation | None,
    limits: Limits,
    why_not_ready: Callable[[], str | None],
    *,
    only_local_names: bool,
) -> ASGIApp:
    """Return the whole ASGI application."""
    described = openapi.document(keys_needed=keys is not None)
    site = Site()

    def ready(request: Request) -> Response:
        reason = why_not_ready()
        said = shown(reason, MESSAGE) if reason else "ready"
        return PlainTextResponse(f"{said}\n", 503 if reason else 200)

    routes = [
        Route(
            "/v1/chat/completions",
            JsonEndpoint(gateway, "chat", ChatRequest, chat),
            methods=["POST"],
        ),
        Route(
            "/v1/completions",
            JsonEndpoint(gateway, "completion", CompletionRequest, complete),
            methods=["POST"],
        ),
        Route(
            "/v1/images/generations",
            JsonEndpoint(gateway, "image", ImageRequest, generate),
            methods=["POST"],
        ),
        Route(
            "/v1/embeddings",
            JsonEndpoint(gateway, "embedding", EmbeddingRequest, embed),
            methods=["POST"],
        ),
        _get("/v1/models", lambda request: models.list_models(gateway, request)),
        _get("/v1/models/{name:path}", lambda request: models.show_model(gateway, request)),
        _get(f"{FILES}/{{name}}.png", lambda request: serve_file(gateway, request)),
        Route("/api/cluster", live, methods=["GET"]),
        _get("/openapi.json", lambda _: Response(described, media_type="application/json")),
        _get("/healthz", lambda _: PlainTextResponse("ok\n")),
        _get("/readyz", ready),
        _get("/", site.serve),
        _get("/page/{file}", site.serve),
    ]
    routed = Starlette(
        routes=routes, exception_handlers={ApiError: _explain, HTTPException: _explain_http}
    )
    # A path with one slash too many would be answered with the Host of the request as the place.
    routed.router.redirect_slashes = False
    app: ASGIApp = FrontDoor(
        routed,
        keys=keys,
        limits=limits,
        activity=gateway.activity,
        public_url=gateway.settings.public_url,
        only_local_names=only_local_names,
    )
    if gateway.settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=gateway.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    return app


def _get(path: str, answer: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        return answer(request)

    return Route(path, endpoint, methods=["GET"])


# Starlette runs handlers that are not coroutines in threads.
async def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body, error.status, headers, "application/json")


async def _explain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {
        404: f"nothing is at {request.url.path}: /openapi.json says what is",
        405: f"{request.method} is not for {request.url.path}: /openapi.json says what is",
    }.get(error.status_code, error.detail)
    answer = await _explain(request, ApiError(error.status_code, what))
    answer.headers.update(error.headers or {})
    return answer
