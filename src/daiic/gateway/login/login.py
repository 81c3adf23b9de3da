"""Logging in and out: the routes that a browser visits, and whose session a request has."""

import hmac
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.client import Client
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.login.admission import Admission
from daiic.gateway.login.bounded_http import ProviderError
from daiic.gateway.login.id_token import TokenError
from daiic.gateway.login.paths import CALLBACK, LOGIN, LOGOUT
from daiic.gateway.login.provider import Provider
from daiic.gateway.login.tickets import Attempt, Session, Tickets

ATTEMPT_SECONDS = 600
LONGEST_CODE = 4000

log = structlog.get_logger()


class Login:
    """Lets people in whom `provider` knows and `admission` allows, for `session_seconds` each."""

    def __init__(
        self,
        provider: Provider,
        admission: Admission,
        tickets: Tickets,
        public_url: str,
        session_seconds: float,
    ) -> None:
        self._provider = provider
        self._admission = admission
        self._tickets = tickets
        self._seconds = int(session_seconds)
        parts = urlsplit(public_url)
        self._origin = f"{parts.scheme}://{parts.netloc}".lower()
        self._secure = parts.scheme == "https"
        # A browser takes a cookie of this name only from this very host, over TLS.
        self._prefix = "__Host-" if self._secure else ""

    def routes(self) -> list[Route]:
        """Return the routes for browsers."""
        return [
            Route(LOGIN, self._begin, methods=["GET"]),
            Route(CALLBACK, self._end, methods=["GET"]),
            Route(LOGOUT, self._leave, methods=["POST"]),
        ]

    async def close(self) -> None:
        """Close connections to the provider."""
        await self._provider.close()

    def session(self, headers: Headers) -> Session | None:
        """Return the session that a request has, if it has one."""
        return self._tickets.read(self._cookie(headers, "session"), Session)

    def client(self, method: str, headers: Headers) -> Client | None:
        """Return for whom a request is answered by its session; `None` if it has none.

        Raises:
            ApiError: 403 if a page of another origin has made the browser send it.
        """
        session = self.session(headers)
        if session is None:
            return None
        self._check_origin(method, headers)
        account = f"user:{session.subject}"
        return Client(
            account,
            session.name,
            account,
            may_bench=session.is_admin,
            is_admin=session.is_admin,
        )

    async def _begin(self, request: Request) -> Response:
        AccessLogEntry.of(request.scope).endpoint = "login"
        attempt = Attempt.new()
        try:
            url = await self._provider.login_url(attempt)
        except ProviderError as error:
            raise _unreachable(error) from None
        response = RedirectResponse(url, 302, {"Cache-Control": "no-store"})
        self._set(response, "login", self._tickets.write(attempt, ATTEMPT_SECONDS), ATTEMPT_SECONDS)
        return response

    async def _end(self, request: Request) -> Response:
        entry = AccessLogEntry.of(request.scope)
        entry.endpoint = "login"
        query = request.query_params
        attempt = self._tickets.read(self._cookie(request.headers, "login"), Attempt)
        state = query.get("state", "").encode("utf-8", "surrogateescape")
        if attempt is None or not hmac.compare_digest(state, attempt.state.encode()):
            raise _refused("this login was not begun in this browser, or too long ago")
        if query.get("iss", self._provider.issuer) != self._provider.issuer:
            raise _refused("another provider has answered")
        code = query.get("code", "")
        if "error" in query or not 0 < len(code) <= LONGEST_CODE:
            raise _refused("the provider has not let you in")
        try:
            claims = await self._provider.claims(code, attempt)
        except ProviderError as error:
            raise _unreachable(error) from None
        except TokenError as error:
            log.warning("a login was refused", reason=str(error), request_id=entry.id)
            raise _refused("what the provider says about you proves nothing") from None
        session = self._admission.session(claims)
        if session is None:
            log.warning("a login was refused", reason="not allowed", request_id=entry.id)
            raise ApiError(
                403,
                "you are known, but not allowed here: ask the operator, who sets "
                "oidc_allowed_emails and oidc_allowed_groups",
                type="permission_error",
                code="login_not_allowed",
            )
        # Never to an address that the request names.
        response = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
        self._set(response, "session", self._tickets.write(session, self._seconds), self._seconds)
        self._set(response, "login", "", 0)
        log.info("logged in", client=session.name, request_id=entry.id)
        return response

    async def _leave(self, request: Request) -> Response:
        AccessLogEntry.of(request.scope).endpoint = "login"
        self._check_origin("POST", request.headers)
        response = Response(status_code=204, headers={"Cache-Control": "no-store"})
        self._set(response, "session", "", 0)
        return response

    def _check_origin(self, method: str, headers: Headers) -> None:
        """Refuse what a page of another origin has a browser send together with our cookie."""
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site")
        own_site = site in ("same-origin", "none")
        if method in ("GET", "HEAD"):
            allowed = site is None or own_site
        elif origin is not None:
            allowed = origin.lower() == self._origin
        else:
            allowed = own_site
        if not allowed:
            raise ApiError(
                403,
                "a page of another origin has sent this with your session: use the gateway's own "
                "page at public_url, or an API key",
                type="permission_error",
                code="origin_not_allowed",
            )

    def _cookie(self, headers: Headers, name: str) -> str:
        cookies: SimpleCookie = SimpleCookie()
        wanted = f"{self._prefix}daiic-{name}"
        for part in headers.get("cookie", "").split(";"):
            if part.strip().startswith(f"{wanted}="):
                cookies.load(part.strip())
                break
        found = cookies.get(wanted)
        return found.value if found is not None else ""

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            f"{self._prefix}daiic-{name}",
            value,
            max_age=seconds,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )


def _refused(what: str) -> ApiError:
    return ApiError(
        400, f"{what}: log in again at {LOGIN}", type="authentication_error", code="login_failed"
    )


def _unreachable(error: ProviderError) -> ApiError:
    log.error("the OpenID Connect provider cannot be used", reason=str(error))
    return ApiError(
        502,
        "the login provider does not answer as it should: try again later; the gateway's log says "
        "what is wrong",
        type=SERVER,
        code="login_unavailable",
    )
