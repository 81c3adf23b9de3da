"""The whole ASGI application: every API's routes, and the layers around them."""

from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from daiic.gateway.anthropic import routes as anthropic
from daiic.gateway.bench.endpoint import BenchEndpoint
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access import AccessMiddleware
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.get_route import get_route
from daiic.gateway.http.rate_limits import RateLimits
from daiic.gateway.http.revocation import Revocation
from daiic.gateway.login.login import CALLBACK, LOGIN, LOGOUT, SESSION, Login, session_route
from daiic.gateway.managing import endpoint as managing
from daiic.gateway.monitoring.cluster_stream import ClusterStream
from daiic.gateway.ollama import routes as ollama
from daiic.gateway.openai import routes as openai
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.image_files import FILES
from daiic.gateway.page.page_files import PageFiles
from daiic.gateway.reranking import routes as reranking
from daiic.gateway.usage.endpoint import show_usage
from daiic.shown import MESSAGE, shown

KEYLESS = frozenset({"/", "/healthz", "/readyz", "/openapi.json", SESSION, LOGIN, CALLBACK, LOGOUT})
"""Paths that need no key: they tell nothing of the cluster, and do nothing in it."""


def build(
    gateway: Gateway,
    cluster_stream: ClusterStream,
    keys: Revocation | None,
    login: Login | None,
    rate_limits: RateLimits,
    why_not_ready: Callable[[], str | None],
    *,
    only_local_names: bool,
) -> ASGIApp:
    """Return the application; `keys` are what clients must send, `None` lets anyone in."""
    page = PageFiles()

    def ready(request: Request) -> Response:
        reason = why_not_ready()
        said = shown(reason, MESSAGE) if reason else "ready"
        return PlainTextResponse(f"{said}\n", 503 if reason else 200)

    routed = Starlette(
        routes=[
            *openai.routes(gateway, keys_needed=keys is not None),
            *reranking.routes(gateway),
            *managing.routes(gateway),
            *anthropic.routes(gateway),
            *ollama.routes(gateway),
            Route("/api/cluster", cluster_stream, methods=["GET"]),
            Route("/api/benches", BenchEndpoint(gateway, error_body), methods=["GET", "POST"]),
            session_route(login),
            *(login.routes() if login is not None else ()),
            Route("/v1/usage", partial(show_usage, gateway), methods=["GET"]),
            get_route("/healthz", lambda _: PlainTextResponse("ok\n")),
            get_route("/readyz", ready),
            get_route("/", page.serve),
            get_route("/page/{file}", page.serve),
        ],
        exception_handlers={ApiError: _on_api_error, HTTPException: _on_http_exception},
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
        format_error=error_body,
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


# Starlette runs handlers that are not coroutines in threads.
async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error_body(error), error.status, headers, "application/json")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {
        404: f"there is nothing at {request.url.path}: /openapi.json lists what there is",
        405: f"{request.url.path} does not take {request.method}: see /openapi.json",
    }.get(error.status_code, error.detail)
    answer = await _on_api_error(request, ApiError(error.status_code, message))
    answer.headers.update(error.headers or {})
    return answer
