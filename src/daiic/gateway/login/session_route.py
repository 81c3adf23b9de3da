"""GET /api/session: whether one can log in, and who has."""

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.login.paths import SESSION

if TYPE_CHECKING:
    from daiic.gateway.login.login import Login


def session_route(login: "Login | None") -> Route:
    """Return the route that tells the page whether one can log in, and who has."""

    async def show(request: Request) -> Response:
        AccessLogEntry.of(request.scope).endpoint = "login"
        session = login.session(request.headers) if login is not None else None
        answer = {"login": login is not None, "user": session.name if session else None}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    return Route(SESSION, show, methods=["GET"])
