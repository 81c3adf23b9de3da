"""How an answer leaves: at once, or as server-sent events.

The header of a stream goes out with its first event, so that a task that is
refused still gets the right status; after a while without events it goes out
with a comment, so that nobody on the way takes the connection for dead.
"""

import asyncio
from collections.abc import Iterable

import msgspec
from starlette.types import Send

from daiic.gateway.errors import ApiError

FIRST_COMMENT = 5.0
COMMENT_EVERY = 15.0

Headers = Iterable[tuple[bytes, bytes]]

EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Without it nginx collects events until its buffer is full.
    (b"x-accel-buffering", b"no"),
]


def event(data: bytes, name: str = "") -> bytes:
    """Return one server-sent event; `data` is a JSON text."""
    return b"%sdata: %s\n\n" % (f"event: {name}\n".encode() if name else b"", data)


class Reply:
    """The answer to one request."""

    __slots__ = ("_comment", "_loop", "_quiet_since", "_send", "_timer", "complete", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None
        self._quiet_since = 0.0
        self.started = False
        self.complete = False

    async def whole(
        self,
        body: bytes,
        status: int = 200,
        content_type: bytes = b"application/json",
        headers: Headers = (),
    ) -> None:
        """Send everything."""
        self.started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type),
                    (b"content-length", str(len(body)).encode()),
                    *headers,
                ],
            }
        )
        self.complete = True
        await self._send({"type": "http.response.body", "body": body})

    async def json(self, answer: msgspec.Struct) -> None:
        """Send `answer` with status 200."""
        await self.whole(msgspec.json.encode(answer))

    def open_stream(self) -> None:
        """Begin a stream: keep the connection alive from now on."""
        self._quiet_since = self._loop.time()
        self._timer = self._loop.call_later(FIRST_COMMENT, self._on_timer)

    async def write(self, data: bytes, last: bool = False) -> None:
        """Send events of the stream; waits while the client is slow to read."""
        if not self.started:
            self.started = True
            await self._send(
                {"type": "http.response.start", "status": 200, "headers": EVENT_STREAM}
            )
        self._quiet_since = self._loop.time()
        if last:
            self.complete = True
            self.close()
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def fail(self, error: ApiError) -> None:
        """Send `error`: as the whole answer, or as the last event of a stream."""
        if self.complete:
            return
        self.close()
        if self.started:
            await self.write(event(error.body), last=True)
        else:
            await self.whole(error.body, error.status, headers=error.headers)

    def close(self) -> None:
        """Send no more comments."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._comment is not None:
            self._comment.cancel()
            self._comment = None

    def _on_timer(self) -> None:
        quiet = self._loop.time() - self._quiet_since
        wait = COMMENT_EVERY - quiet
        if wait <= 0 or not self.started:
            self._comment = self._loop.create_task(self.write(b": still at work\n\n"))
            wait = COMMENT_EVERY
        self._timer = self._loop.call_later(wait, self._on_timer)
