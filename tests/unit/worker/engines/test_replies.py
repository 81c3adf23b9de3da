"""What a model's server may send to a worker."""

from collections.abc import AsyncIterator

import httpx
import pytest

from daiic.errors import TaskError
from daiic.worker.engines.replies import MAX_LINE, Replies

REPLIES = Replies("a server")


class Endless(httpx.AsyncByteStream):
    """A content that never ends; `sent` counts its bytes."""

    sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 1 << 16
            yield bytes(1 << 16)


async def test_of_a_refusal_that_never_ends_the_beginning_is_read() -> None:
    content = Endless()
    refused = await REPLIES.refused(httpx.Response(400, stream=content))
    assert len(refused) == MAX_LINE
    assert content.sent < 2 * MAX_LINE


async def test_an_event_that_never_ends_is_given_up() -> None:
    with pytest.raises(TaskError, match="no end"):
        async for _ in REPLIES.events(httpx.Response(200, stream=Endless())):
            pass
