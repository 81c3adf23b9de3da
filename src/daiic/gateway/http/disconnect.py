"""Work that is cancelled when its client disconnects or its time is up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.response_writer import ResponseWriter


class ClientDisconnected(Exception):
    """The client closed the connection before it had its answer."""


@asynccontextmanager
async def cancel_on_disconnect(
    receive: Receive, response: ResponseWriter, seconds: float
) -> AsyncIterator[None]:
    """Cancel the body of the `async with` when the client disconnects, or after `seconds`.

    Raises:
        ClientDisconnected: in the first case.
        ApiError: 504, in the second; what `receive` raises, when it raises one.
    """
    loop = asyncio.get_running_loop()
    reason: Exception | None = None

    async def watch(scope: asyncio.Timeout) -> None:
        nonlocal reason
        ended: Exception = ClientDisconnected()
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except ApiError as refused:
            ended = refused
        if not response.complete:
            reason = ended
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
        if reason is not None:
            raise reason from None
        raise ApiError(
            504,
            f"the answer was not complete after {seconds:g} s: ask for less, "
            "or ask the operator to raise request_timeout",
            type=SERVER,
            code="request_timeout",
        ) from None
