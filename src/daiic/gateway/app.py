"""The whole ASGI application: every API's routes, and the layers around them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from daiic.gateway.anthropic import errors as anthropic_errors
from daiic.gateway.anthropic import routes as anthropic
from daiic.gateway.anthropic.operations import API as ANTHROPIC
from daiic.gateway.bench.endpoint import BenchEndpoint
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access import AccessMiddleware
from daiic.gateway.http.errors import ApiError, ErrorFormat
from daiic.gateway.http.get_route import get_route
from daiic.gateway.http.rate_limits import RateLimits
from daiic.gateway.http.revocation import Revocation
from daiic.gateway.login.paths import CALLBACK, LOGIN, LOGOUT, SESSION
from daiic.gateway.login.session_route import session_route
from daiic.gateway.managing import endpoint as managing
from daiic.gateway.managing import operations as managing_operations
from daiic.gateway.monitoring import explaining, explaining_operations
from daiic.gateway.monitoring.cluster_stream import ClusterStream
from daiic.gateway.ollama import errors as ollama_errors
from daiic.gateway.ollama import routes as ollama
from daiic.gateway.ollama.operations import API as OLLAMA
from daiic.gateway.openai import operations as openai_operations
from daiic.gateway.openai import routes as openai
from daiic.gateway.openai.errors import ErrorBody, error_body
from daiic.gateway.openai.image_files import FILES
from daiic.gateway.openapi.document import document
from daiic.gateway.openapi.operation import JSON, Api
from daiic.gateway.page.page_files import PageFiles
from daiic.gateway.reranking import operations as reranking_operations
from daiic.gateway.reranking import routes as reranking
from daiic.gateway.usage import operations as usage_operations
from daiic.gateway.usage.endpoint import show_usage
from daiic.shown import MESSAGE, shown

if TYPE_CHECKING:
    from daiic.gateway.login.login import Login

KEYLESS = frozenset({"/", "/healthz", "/readyz", "/openapi.json", SESSION, LOGIN, CALLBACK, LOGOUT})
"""Paths that need no key: they tell nothing of the cluster, and do nothing in it."""

APIS = (
    Api(
        "",
        ErrorBody,
        (
            *openai_operations.OPERATIONS,
            *reranking_operations.OPERATIONS,
            *managing_operations.OPERATIONS,
            *usage_operations.OPERATIONS,
            *explaining_operations.OPERATIONS,
        ),
    ),
    ANTHROPIC,
    OLLAMA,
)
"""What the OpenAPI document describes: all but what is the page's own."""


def build(
    gateway: Gateway,
    cluster_stream: ClusterStream,
    keys: Revocation | None,
    login: "Login | None",
    rate_limits: RateLimits,
    why_not_ready: Callable[[], str | None],
    *,
    only_local_names: bool,
) -> ASGIApp:
    """Return the application; `keys` are what clients must send, `None` lets anyone in."""
    page = PageFiles()
    other_apis = [
        (anthropic.routes(gateway), anthropic_errors.error_body),
        (ollama.routes(gateway), ollama_errors.error_body),
    ]
    formats = {route.path: format_error for routes, format_error in other_apis for route in routes}

    def format_of(path: str) -> ErrorFormat:
        return formats.get(path, error_body)

    async def on_api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return _refusal(error, format_of(request.url.path))

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        message = {
            404: f"there is nothing at {path}: /openapi.json lists what there is",
            405: f"{path} does not take {request.method}: see /openapi.json",
        }.get(error.status_code, error.detail)
        answer = _refusal(ApiError(error.status_code, message), format_of(path))
        answer.headers.update(error.headers or {})
        return answer

    def ready(request: Request) -> Response:
        reason = why_not_ready()
        said = shown(reason, MESSAGE) if reason else "ready"
        return PlainTextResponse(f"{said}\n", 503 if reason else 200)

    described = document(APIS, keys_needed=keys is not None)
    routed = Starlette(
        routes=[
            *openai.routes(gateway),
            *reranking.routes(gateway),
            *managing.routes(gateway),
            *(route for routes, _ in other_apis for route in routes),
            Route("/api/cluster", cluster_stream, methods=["GET"]),
            *explaining.routes(gateway),
            Route("/api/benches", BenchEndpoint(gateway, error_body), methods=["GET", "POST"]),
            session_route(login),
            *(login.routes() if login is not None else ()),
            Route("/v1/usage", partial(show_usage, gateway), methods=["GET"]),
            get_route("/openapi.json", lambda _: Response(described, media_type=JSON)),
            get_route("/healthz", lambda _: PlainTextResponse("ok\n")),
            get_route("/readyz", ready),
            get_route("/", page.serve),
            get_route("/page/{file}", page.serve),
        ],
        # Starlette runs handlers that are not coroutines in threads.
        exception_handlers={ApiError: on_api_error, HTTPException: on_http_exception},
    )
    # A path with one slash too many would be answered with a redirect to the request's own Host.
    routed.router.redirect_slashes = False
    app: ASGIApp = AccessMiddleware(
        routed,
        keys=keys,
        login=login,
        keyless=KEYLESS,
        # Names of images are secrets.
        keyless_below=(f"{FILES}/", "/page/"),
        rate_limits=rate_limits,
        activity=gateway.activity,
        usage=gateway.usage,
        format_of=format_of,
        public_url=gateway.settings.public_url,
        only_local_names=only_local_names,
        before=gateway.view.want,
    )
    if gateway.settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=gateway.settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    return app


def _refusal(error: ApiError, format_error: ErrorFormat) -> Response:
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(format_error(error), error.status, headers, JSON)
