"""What every request passes first: its id, who sent it, whether it may, and how it ended."""

import contextlib
import time
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daiic.gateway.activity import ActivityLog
from daiic.gateway.errors import SERVER, ApiError
from daiic.gateway.exchange import Exchange, request_id
from daiic.gateway.images import FILES
from daiic.gateway.keys import ApiKey, ApiKeysError
from daiic.gateway.limits import Limits
from daiic.gateway.reply import Reply
from daiic.gateway.revocation import Revocation, invalid_key
from daiic.service.host_header import BadHost, host_named, is_local_name

log = structlog.get_logger()

GUARDED = ("/v1/", "/api/")
"""What needs a key; of it, only image files are open, since their names are secrets."""


class FrontDoor:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Revocation | None,
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
            key = self._key(scope, headers)
            exchange.client = key.name if key else scope["client"][0] if scope.get("client") else ""
            if scope["method"] == "POST":
                self._limits.enter(exchange.client)
                entered = True
            with contextlib.ExitStack() as stack:
                if key is not None and self._keys is not None:
                    receive = stack.enter_context(self._keys.guarding(key, receive))
                await self._app(scope, receive, send_with_id)
        except ApiError as error:
            await Reply(send_with_id).fail(error)
        finally:
            if entered:
                self._limits.leave(exchange.client)
            self._note(scope, exchange)

    def _key(self, scope: Scope, headers: Headers) -> ApiKey | None:
        """Return the key that the request shows, `None` if it needs none."""
        path: str = scope["path"]
        if self._keys is None or not path.startswith(GUARDED) or path.startswith(f"{FILES}/"):
            return None
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        try:
            key = self._keys.keys.find(presented.strip()) if scheme.lower() == "bearer" else None
        except ApiKeysError as error:
            log.error("API keys cannot be checked", reason=str(error))
            raise ApiError(
                503, "the gateway cannot read its API keys; its log says why", kind=SERVER
            ) from None
        if key is None:
            what = "that API key is not valid" if presented else "an API key is needed"
            raise invalid_key(what)
        return key

    def _check_host(self, headers: Headers) -> None:
        try:
            host = host_named(headers.getlist("host"))
        except BadHost as error:
            raise ApiError(400, str(error), code="bad_host") from None
        if self._only_local_names and host != self._public_host and not is_local_name(host):
            raise ApiError(
                403,
                f"this gateway needs no key, so it answers only to localhost and addresses, not "
                f"to {host}: use API keys, or set public_url",
                code="host_not_allowed",
            )

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
