"""Requests to the provider, whose answers are bounded in time and size."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx

from daiic.gateway.limits import PROVIDER_BYTES, PROVIDER_PATIENCE


class ProviderError(Exception):
    """The provider does not answer, or not as it should; the message is for the operator's log."""


class BoundedHttp:
    """Follows no redirects, takes no compressed answers, and only a few requests at once."""

    def __init__(self, at_once: int = 8) -> None:
        self._http = httpx.AsyncClient(
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=PROVIDER_PATIENCE,
            follow_redirects=False,
        )
        self._places = asyncio.Semaphore(at_once)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def get(self, url: str) -> dict[str, Any]:
        """Return the JSON object at `url`.

        Raises:
            ProviderError: if there is none.
        """
        return await self._ask("GET", url)

    async def post(
        self, url: str, form: Mapping[str, str], auth: httpx.Auth | None = None
    ) -> dict[str, Any]:
        """Send `form` and return the JSON object that is the answer.

        Raises:
            ProviderError: if it is none.
        """
        return await self._ask("POST", url, data=dict(form), auth=auth)

    async def _ask(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            async with (
                asyncio.timeout(PROVIDER_PATIENCE),
                self._places,
                self._http.stream(method, url, **options) as response,
            ):
                body = await _body(response)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ProviderError(f"{url} does not answer: {error or type(error).__name__}") from None
        if response.status_code != httpx.codes.OK:
            raise ProviderError(f"{url} answers with status {response.status_code}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ProviderError(f"{url} does not answer with a JSON object")
        return answer


async def _body(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ProviderError(f"{response.url} answers compressed, though it was asked not to")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > PROVIDER_BYTES:
            raise ProviderError(f"{response.url} answers with more than {PROVIDER_BYTES} bytes")
    return bytes(body)
