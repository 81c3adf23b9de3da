"""How an answer is sent: at once, or as a stream, of server-sent events unless an API has its own.

The header of a stream goes out with its first event, so that a task that is
refused still gets the right status. After a while without events it goes out
with a comment, so that no proxy takes the connection for dead.
"""

import asyncio
from collections.abc import Iterable
from typing import ClassVar, Protocol

import msgspec
from starlette.types import Send

from daiic.gateway.http.errors import ApiError, ErrorFormat

FIRST_COMMENT = 5.0
"""Seconds without an event after which a stream begins with a comment."""
COMMENT_EVERY = 15.0
"""Seconds without an event after which a stream that has begun sends a comment."""

Headers = Iterable[tuple[bytes, bytes]]

STREAMED = [
    (b"cache-control", b"no-store"),
    # Without it nginx collects events until its buffer is full.
    (b"x-accel-buffering", b"no"),
]


class StreamFormat(Protocol):
    """What a stream is made of, apart from its events.

    `media_type` is its type for the header; `comment` keeps a quiet connection alive, empty if
    the type has nothing for that.
    """

    @property
    def media_type(self) -> bytes: ...

    @property
    def comment(self) -> bytes: ...

    def error(self, error: ApiError) -> bytes:
        """Return how a stream ends that fails after it has begun; nothing if it cannot say so."""


class EventStream:
    """Server-sent events, the last of which may be an error as the API writes them."""

    media_type: ClassVar[bytes] = b"text/event-stream; charset=utf-8"
    comment: ClassVar[bytes] = b": still working\n\n"

    __slots__ = ("_format_error",)

    def __init__(self, format_error: ErrorFormat) -> None:
        self._format_error = format_error

    def error(self, error: ApiError) -> bytes:
        """Return `error` as an event."""
        return server_sent_event(self._format_error(error))


def server_sent_event(data: bytes, name: str = "") -> bytes:
    """Return one event; `data` is a JSON text."""
    return b"%sdata: %s\n\n" % (f"event: {name}\n".encode() if name else b"", data)


class ResponseWriter:
    """Sends the answer to one request."""

    __slots__ = (
        "_comment",
        "_format_error",
        "_loop",
        "_quiet_since",
        "_send",
        "_send_more",
        "_stream",
        "_timer",
        "complete",
        "started",
    )

    def __init__(
        self, send: Send, format_error: ErrorFormat, send_more: Send | None = None
    ) -> None:
        """`send_more`, if there is one, takes all but the start of the answer."""
        self._send = send
        self._send_more = send_more or send
        self._format_error = format_error
        self._stream: StreamFormat = EventStream(format_error)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None
        self._quiet_since = 0.0
        self.started = False
        self.complete = False

    async def send(
        self,
        body: bytes,
        status: int = 200,
        headers: Headers = (),
        media_type: bytes = b"application/json",
    ) -> None:
        """Send a whole answer; `body` is a JSON text, or of another `media_type`."""
        self.started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", media_type),
                    (b"content-length", str(len(body)).encode()),
                    *headers,
                ],
            }
        )
        self.complete = True
        await self._send_more({"type": "http.response.body", "body": body})

    async def send_json(self, answer: msgspec.Struct) -> None:
        """Send `answer` with status 200."""
        await self.send(msgspec.json.encode(answer))

    def start_stream(self, stream: StreamFormat | None = None) -> None:
        """Begin a stream, of server-sent events unless it is another `stream`.

        The connection is kept alive from now on.
        """
        if stream is not None:
            self._stream = stream
        self._quiet_since = self._loop.time()
        self._timer = self._loop.call_later(FIRST_COMMENT, self._on_timer)

    async def write(self, data: bytes, last: bool = False) -> None:
        """Send more of the stream; waits while the client is slow to read."""
        if not self.started:
            self.started = True
            headers = [(b"content-type", self._stream.media_type), *STREAMED]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._quiet_since = self._loop.time()
        if last:
            self.complete = True
            self.stop_comments()
        await self._send_more({"type": "http.response.body", "body": data, "more_body": not last})

    async def send_error(self, error: ApiError) -> None:
        """Send `error`: as the whole answer, or as the last event of a stream."""
        if self.complete:
            return
        self.stop_comments()
        if self.started:
            # Without words for it the answer stays without its end, and the server closes the
            # connection: else what is cut off would look whole.
            if data := self._stream.error(error):
                await self.write(data, last=True)
        else:
            await self.send(self._format_error(error), error.status, error.headers)

    def stop_comments(self) -> None:
        """Keep the connection alive no longer."""
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
            self._comment = self._loop.create_task(self.write(self._stream.comment))
            wait = COMMENT_EVERY
        self._timer = self._loop.call_later(wait, self._on_timer)
