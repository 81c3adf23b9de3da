"""Revoking an API key ends the requests that run with it."""

import asyncio
import contextlib
from collections.abc import Iterator

import structlog
from starlette.types import Message, Receive

from daiic.gateway.http.api_keys import ApiKey, ApiKeysError, KeyFile
from daiic.gateway.http.errors import ApiError

INTERVAL = 0.5
"""Seconds between two looks at the file of keys; every new request looks too."""

log = structlog.get_logger()


class Revocation:
    """Knows which requests run with which key."""

    def __init__(self, keys: KeyFile) -> None:
        self.keys = keys
        self._running: dict[ApiKey, set[asyncio.Future[None]]] = {}
        self._runs = asyncio.Event()

    @contextlib.contextmanager
    def guarding(self, key: ApiKey, receive: Receive) -> Iterator[Receive]:
        """Give a `receive` that raises `ApiError` 401 as soon as `key` is revoked."""
        revoked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running.setdefault(key, set()).add(revoked)
        self._runs.set()

        async def receive_while_valid() -> Message:
            getting = asyncio.ensure_future(receive())
            try:
                await asyncio.wait((getting, revoked), return_when=asyncio.FIRST_COMPLETED)
                if revoked.done():
                    raise invalid_key("this API key has been revoked")
                return getting.result()
            finally:
                getting.cancel()

        try:
            yield receive_while_valid
        finally:
            self._running[key].discard(revoked)
            if not self._running[key]:
                del self._running[key]

    async def follow(self) -> None:
        """Check which keys are still valid, every `INTERVAL` while requests run; never returns."""
        readable = True
        while True:
            if not self._running:
                self._runs.clear()
                await self._runs.wait()
            await asyncio.sleep(INTERVAL)
            try:
                valid = self.keys.load()
            except ApiKeysError as error:
                # Requests that run go on; new ones are refused by `AccessMiddleware`.
                if readable:
                    log.error("API keys cannot be checked", reason=str(error))
                readable = False
                continue
            readable = True
            for key, running in list(self._running.items()):
                now = valid.get(key.id)
                if now is None or now.sha256 != key.sha256:
                    log.info("key revoked", key=key.name, requests_ended=len(running))
                    for revoked in running:
                        if not revoked.done():
                            revoked.set_result(None)


def invalid_key(what: str) -> ApiError:
    """Return the refusal of a request; `what` says what is wrong with its key."""
    return ApiError(
        401,
        f"{what}: send the header Authorization: Bearer <key>; `daiic apikey create` makes keys",
        type="authentication_error",
        code="invalid_api_key",
    )
