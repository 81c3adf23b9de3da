"""Work that ends early when its client leaves or its time is up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from daiic.gateway.errors import SERVER, ApiError
from daiic.gateway.reply import Reply


class ClientGone(Exception):
    """The client closed the connection before it had its answer."""


@asynccontextmanager
async def while_client_waits(receive: Receive, reply: Reply, seconds: float) -> AsyncIterator[None]:
    """Cancel the body of the `async with` when the client leaves, or after `seconds`.

    Raises:
        ClientGone: in the first case.
        ApiError: 504, in the second; what `receive` raises, when it raises one.
    """
    loop = asyncio.get_running_loop()
    gone: Exception | None = None

    async def watch(scope: asyncio.Timeout) -> None:
        nonlocal gone
        why: Exception = ClientGone()
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except ApiError as refused:
            why = refused
        if not reply.complete:
            gone = why
            scope.reschedule(loop.time())

    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            watcher = loop.create_task(watch(scope))
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError:
        if not scope.expired():
            raise
        if gone is not None:
            raise gone from None
        raise ApiError(
            504,
            f"the answer was not complete after {seconds:g} s: ask for less, "
            "or have the operator raise request_timeout",
            kind=SERVER,
            code="request_timeout",
        ) from None
