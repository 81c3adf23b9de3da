"""What every request passes first: its id, who sent it, whether it may, and how it ended."""

import ipaddress
import time
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daiic.gateway.activity import ActivityLog
from daiic.gateway.errors import SERVER, ApiError
from daiic.gateway.exchange import Exchange, request_id
from daiic.gateway.images import FILES
from daiic.gateway.keys import ApiKeysError, KeyFile
from daiic.gateway.limits import Limits
from daiic.gateway.reply import Reply

log = structlog.get_logger()

GUARDED = ("/v1/", "/api/")
"""What needs a key; of it, only image files are open, since their names are secrets."""


class FrontDoor:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyFile | None,
        limits: Limits,
        activity: ActivityLog,
        public_url: str,
        only_local_names: bool,
    ) -> None:
        """`only_local_names` refuses a Host that is neither an address nor localhost.

        Without keys on loopback this keeps web pages from reaching the
        gateway under a name of their own that resolves to 127.0.0.1.
        """
        self._app = app
        self._keys = keys
        self._limits = limits
        self._activity = activity
        self._public_host = urlsplit(public_url).hostname
        self._only_local_names = only_local_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        exchange = Exchange(request_id(headers.get("x-request-id")))
        scope["state"]["exchange"] = exchange

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = exchange.id
            await send(message)

        entered = False
        try:
            self._check_host(headers)
            exchange.client = self._who(scope, headers)
            if scope["method"] == "POST":
                self._limits.enter(exchange.client)
                entered = True
            await self._app(scope, receive, send_with_id)
        except ApiError as error:
            await Reply(send_with_id).fail(error)
        finally:
            if entered:
                self._limits.leave(exchange.client)
            self._note(scope, exchange)

    def _who(self, scope: Scope, headers: Headers) -> str:
        path: str = scope["path"]
        address = scope["client"][0] if scope.get("client") else ""
        if self._keys is None or not path.startswith(GUARDED) or path.startswith(f"{FILES}/"):
            return address
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        try:
            key = self._keys.find(presented.strip()) if scheme.lower() == "bearer" else None
        except ApiKeysError as error:
            log.error("API keys cannot be checked", reason=str(error))
            raise ApiError(
                503, "the gateway cannot read its API keys; its log says why", kind=SERVER
            ) from None
        if key is None:
            what = "that API key is not valid" if presented else "an API key is needed"
            raise ApiError(
                401,
                f"{what}: send Authorization: Bearer <key>; `daiic apikey create` makes keys",
                kind="authentication_error",
                code="invalid_api_key",
            )
        return key.name

    def _check_host(self, headers: Headers) -> None:
        if not self._only_local_names:
            return
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if host in ("", "localhost", self._public_host) or host.endswith(".localhost"):
            return
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ApiError(
                403,
                f"this gateway needs no key, so it answers only to localhost and addresses, not "
                f"to {host}: use API keys, or set public_url",
                code="host_not_allowed",
            ) from None

    def _note(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        self._activity.count_request(exchange.endpoint, exchange.model, exchange.status, seconds)
        say = log.info if exchange.status >= 400 else log.debug
        say(
            "request",
            request_id=exchange.id,
            client=exchange.client,
            endpoint=exchange.endpoint,
            status=exchange.status,
            ms=round(seconds * 1000, 1),
            **({"model": exchange.model} if exchange.model else {}),
        )
