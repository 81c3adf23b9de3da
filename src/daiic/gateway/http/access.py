"""What every request passes first: its id, who sent it, whether it may; and its log entry."""

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daiic.gateway.http.access_log import OTHER, AccessLogEntry, request_id
from daiic.gateway.http.api_keys import ApiKey, ApiKeysError
from daiic.gateway.http.client import Client
from daiic.gateway.http.errors import SERVER, ApiError, ErrorFormat
from daiic.gateway.http.rate_limits import RateLimits
from daiic.gateway.http.response_writer import ResponseWriter
from daiic.gateway.http.revocation import Revocation, invalid_key
from daiic.gateway.monitoring.activity import ActivityLog
from daiic.gateway.usage.ledger import Ledger
from daiic.service.host_header import BadHost, host_named, is_local_name
from daiic.wire.address import is_loopback

if TYPE_CHECKING:
    from daiic.gateway.login.login import Login

log = structlog.get_logger()


class AccessMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Revocation | None,
        login: "Login | None",
        keyless: frozenset[str],
        keyless_below: tuple[str, ...],
        rate_limits: RateLimits,
        activity: ActivityLog,
        usage: Ledger,
        format_of: Callable[[str], ErrorFormat],
        public_url: str,
        only_local_names: bool,
        before: Callable[[], Awaitable[None]],
    ) -> None:
        """`format_of` returns how errors of a path are written.

        `keyless` are the paths that need no key, and `keyless_below` what others begin with.

        All others do. `before` is awaited once a request to one of these may be answered.

        `only_local_names` refuses a Host that is neither an address nor
        localhost. Without keys, on loopback, this keeps web pages from
        reaching the gateway under a name of their own that resolves to
        127.0.0.1.
        """
        self._app = app
        self._keys = keys
        self._login = login
        self._keyless = keyless
        self._keyless_below = keyless_below
        self._rate_limits = rate_limits
        self._activity = activity
        self._usage = usage
        self._format_of = format_of
        self._public_host = urlsplit(public_url).hostname
        self._only_local_names = only_local_names
        self._before = before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        entry = AccessLogEntry(request_id(headers.get("x-request-id")))
        entry.attach(scope)
        # What follows the start of an answer needs nothing of the layers in between.
        scope["state"]["send_more"] = send

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                sent = MutableHeaders(scope=message)
                sent["x-request-id"] = entry.id
                if limited:
                    sent.update(self._rate_limits.headers(entry.client))
            await send(message)

        guarded = limited = acquired = False
        try:
            self._check_host(headers)
            guarded = self._is_guarded(scope["path"])
            key, entry.client = self._client(scope, headers, guarded)
            limited = scope["method"] == "POST"
            if limited:
                self._rate_limits.acquire(entry.client)
                acquired = True
            if guarded:
                await self._before()
            with contextlib.ExitStack() as stack:
                stack.enter_context(entry.being_answered())
                if key is not None and self._keys is not None:
                    receive = stack.enter_context(self._keys.guarding(key, receive))
                await self._app(scope, receive, send_with_id)
        except ApiError as error:
            format_error = self._format_of(scope["path"])
            await ResponseWriter(send_with_id, format_error).send_error(error)
        finally:
            if acquired:
                self._rate_limits.release(entry.client)
                if guarded and entry.endpoint != OTHER:
                    self._usage.book(entry)
            self._record(entry)

    def _is_guarded(self, path: str) -> bool:
        return path not in self._keyless and not path.startswith(self._keyless_below)

    def _client(
        self, scope: Scope, headers: Headers, guarded: bool
    ) -> tuple[ApiKey | None, Client]:
        """Return who asks, and with which key, if it is with one."""
        if not guarded or (self._keys is None and self._login is None):
            return None, self._anonymous(scope)
        presented = _presented(headers)
        if not presented and self._login is not None:
            client = self._login.client(scope["method"], headers)
            if client is not None:
                return None, client
        key = self._key(presented)
        return key, Client.of_key(key)

    def _key(self, presented: str) -> ApiKey:
        try:
            key = self._keys.keys.find(presented) if presented and self._keys else None
        except ApiKeysError as error:
            log.error("API keys cannot be checked", reason=str(error))
            raise ApiError(
                503,
                "the gateway cannot read its API keys: its operator finds the reason in its log",
                type=SERVER,
            ) from None
        if key is None:
            what = "this API key is not valid" if presented else "an API key is needed"
            raise invalid_key(what)
        return key

    def _anonymous(self, scope: Scope) -> Client:
        address = scope["client"][0] if scope.get("client") else ""
        alone = self._only_local_names and self._is_at_this_machine(address)
        return Client(address, address, may_bench=alone, is_admin=alone)

    def _is_at_this_machine(self, address: str) -> bool:
        """Return whether only who uses this machine can have sent a request that came on loopback.

        A proxy on it may have handed on what others sent: then `public_url` says so, or the proxy
        itself, whose X-Forwarded-For is the `address`.
        """
        if self._public_host is not None and not is_local_name(self._public_host):
            return False
        try:
            return is_loopback((address, 0))
        except ValueError:
            return False

    def _check_host(self, headers: Headers) -> None:
        try:
            host = host_named(headers.getlist("host"))
        except BadHost as error:
            raise ApiError(400, str(error), code="bad_host") from None
        if self._only_local_names and host != self._public_host and not is_local_name(host):
            raise ApiError(
                403,
                f"this gateway needs no API key, so it answers only to localhost and IP addresses, "
                f"not to {host}: use one of those, or have the operator set API keys or public_url",
                code="host_not_allowed",
            )

    def _record(self, entry: AccessLogEntry) -> None:
        seconds = time.perf_counter() - entry.started
        self._activity.count_request(entry.endpoint, entry.model, entry.status, seconds)
        say = log.info if entry.status >= 400 else log.debug
        say(
            "request",
            request_id=entry.id,
            client=entry.client.name,
            endpoint=entry.endpoint,
            status=entry.status,
            ms=round(seconds * 1000, 1),
            **({"model": entry.model} if entry.model else {}),
        )


def _presented(headers: Headers) -> str:
    """Return the key that a request has, as OpenAI's clients send it or as Anthropic's."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
