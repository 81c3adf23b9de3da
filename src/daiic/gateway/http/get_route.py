"""A GET route whose handler does not wait for anything."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def get_route(path: str, handler: Callable[[Request], Response]) -> Route:
    """Return the route; Starlette would run a plain function in a thread."""

    async def endpoint(request: Request) -> Response:
        return handler(request)

    return Route(path, endpoint, methods=["GET"])
