"""A model's server in a child process: its Unix socket, and the wait until the model is loaded."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from daiic.errors import TaskError

SLOWEST = 10_000_000
"""Bytes of a model that are loaded in a second, at the least."""


def connection(socket: Path) -> httpx.AsyncClient:
    """Return what sends requests to the server at `socket`, and waits for its answers for ever."""
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(
            uds=str(socket),
            # It closes a connection now and then, maybe while a request is on its way.
            limits=httpx.Limits(max_keepalive_connections=0),
        ),
        base_url="http://server",
        timeout=None,
        trust_env=False,
    )


async def healthy(client: httpx.AsyncClient) -> bool:
    """Return whether the server says that it is ready for tasks."""
    try:
        async with client.stream("GET", "/health") as response:
            return response.status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def until_loaded(
    ready: Callable[[], Awaitable[bool]],
    close: Callable[[], Awaitable[None]],
    patience: float,
    poll: float,
    too_late: Callable[[float], TaskError],
) -> None:
    """Wait until `ready`, asked every `poll` seconds; if it fails or is late, `close` and raise.

    Raises:
        TaskError: `too_late` if it was not after `patience` seconds, or what `ready` raises.
    """
    try:
        async with asyncio.timeout(patience):
            while not await ready():  # noqa: ASYNC110
                await asyncio.sleep(poll)
    except TimeoutError:
        await close()
        raise too_late(patience) from None
    except BaseException:
        await close()
        raise
