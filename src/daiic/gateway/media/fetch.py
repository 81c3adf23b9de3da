"""Fetching a file that a request names by URL, within bounds of size, time and redirects."""

import asyncio
from collections.abc import Callable, Iterable

import httpx

from daiic.gateway.limits import FETCH_PATIENCE, MEDIA_BYTES, REDIRECTS
from daiic.gateway.media.hosts import Source, source_of

ASKED = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "daiic-gateway"}


class NotFetched(Exception):
    """A file that could not be had; the message says why, and what to do."""


async def fetch(url: str, allowed: Iterable[str], count: Callable[[bytes], None]) -> bytes:
    """Return the file at `url`, if its host is one of those `allowed`; see `source_of`.

    `count` is called with each piece that arrives, and may refuse it.

    Raises:
        NotAllowed: if it, or where it redirects to, is not to be fetched.
        NotFetched: if it cannot be had within the bounds.
    """
    allowed = tuple(allowed)
    try:
        async with asyncio.timeout(FETCH_PATIENCE):
            source = await source_of(url, allowed)
            for _ in range(REDIRECTS + 1):
                answer = await _from(source, count)
                if isinstance(answer, bytes):
                    return answer
                source = await source_of(answer, allowed)
    except TimeoutError:
        raise NotFetched(
            f"its host did not send it within {FETCH_PATIENCE:g} s: send it as a data URL"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError) as error:
        raise NotFetched(
            f"its host cannot be reached ({type(error).__name__}): check the URL"
        ) from None
    raise NotFetched(f"it was redirected more than {REDIRECTS} times: send its last URL")


async def _from(source: Source, count: Callable[[bytes], None]) -> bytes | str:
    """Return the file at `source`, or the URL to which it redirects."""
    # A client of its own: no cookies, no connections and no credentials of other requests, and
    # nothing that the environment says of proxies.
    async with httpx.AsyncClient(trust_env=False, timeout=FETCH_PATIENCE) as client:
        request = client.build_request(
            "GET",
            source.url_of_address,
            headers={**ASKED, "Host": source.authority},
            # The certificate must be the name's.
            extensions={"sni_hostname": source.host},
        )
        answer = await client.send(request, stream=True)
        try:
            if answer.is_redirect:
                return source.redirect(answer.headers.get("location", ""))
            if answer.status_code != 200:
                raise NotFetched(f"its host answers {answer.status_code}: check the URL")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise NotFetched("its host sends it compressed, unasked: send it as a data URL")
            content = bytearray()
            async for piece in answer.aiter_raw():
                count(piece)
                content += piece
                if len(content) > MEDIA_BYTES:
                    raise NotFetched(
                        f"it is larger than {MEDIA_BYTES >> 20} MiB: send a smaller one"
                    )
            return bytes(content)
        finally:
            await answer.aclose()
