"""A client's connection: how much it may send before its key is checked, and how slowly.

uvicorn limits only the pause after an answer. It would keep headers without
an end, chunks that are all framing and requests piled up behind one another,
and wait for a header that arrives byte by byte. `limits` has the limits and
what happens at each.
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from daiic.gateway.http.access_log import request_id
from daiic.gateway.http.connection_limit import ConnectionLimit
from daiic.gateway.http.errors import OVERLOADED, ApiError, ErrorFormat
from daiic.gateway.limits import (
    DISCARDED_BYTES,
    FRAMING_BYTES,
    FRAMING_SHARE,
    HEADER_BYTES,
    HEADER_LINES,
    LINGER,
    PIECE,
    PIPELINED,
)

log = structlog.get_logger()


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits on what a client sends."""

    def __init__(
        self,
        *args: Any,
        header_patience: float,
        connection_limit: ConnectionLimit,
        format_error: ErrorFormat,
        **named: Any,
    ) -> None:
        """`header_patience` is in seconds; the other arguments are uvicorn's."""
        super().__init__(*args, **named)
        self._header_patience = header_patience
        self._limit = connection_limit
        self._format_error = format_error
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: ApiError | None = None
        self._refused = False
        self._in_body = False
        self._headers_read = 0
        """How many requests' headers have been complete."""
        self._header_bytes = 0
        self._header_lines = 0
        self._body_fed = 0
        """Bytes of the current body with their framing; `_body_taken` are those without."""
        self._body_taken = 0
        self._discarded = 0

    # ------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limit.most and not self._limit.evict_idle():
            self._refuse(
                ApiError(
                    503, "the gateway has too many connections: try again later", type=OVERLOADED
                ),
                linger=0,
            )
            return
        self._limit.mark_idle(self)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._refused:
            self._discard(len(data))
            return
        # After an answer comes the next header, or the rest of a body that nobody reads.
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_header()
        try:
            if len(data) <= PIECE:
                self._feed(data)
            else:
                view = memoryview(data)
                for start in range(0, len(data), PIECE):
                    self._feed(view[start : start + PIECE])
                    if self._refused:
                        break
        except httptools.HttpParserUpgrade:
            pass  # the client wants another protocol, which we do not speak
        except httptools.HttpParserError:
            self._refuse(
                self._refusal or ApiError(400, "this is not an HTTP request: send HTTP/1.1")
            )

    def connection_lost(self, error: Exception | None) -> None:
        self._header_arrived()
        self._limit.unmark_idle(self)
        super().connection_lost(error)

    # ---------------------------------------------------------- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_lines += 1
        if self._header_lines > HEADER_LINES:
            self._too_much(f"the request has more than {HEADER_LINES} header lines")
        # Trailers come after the application has read the headers: nothing here reads them.
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._header_arrived()
        self._limit.unmark_idle(self)
        self._in_body = True
        self._headers_read += 1
        self._header_bytes = self._header_lines = 0
        self._body_fed = self._body_taken = 0
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED:
            self._refusal = ApiError(
                400, f"more than {PIPELINED} requests wait on this connection: wait for answers"
            )
            raise self._refusal

    def on_body(self, body: bytes) -> None:
        self._body_taken += len(body)
        if self.cycle.response_complete:
            self._discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._header_lines = 0
        super().on_message_complete()

    # --------------------------------------------------------------- what uvicorn calls

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self.cycle.body = bytearray()
            if not self.transport.is_closing():
                self._limit.mark_idle(self)

    def evict(self) -> None:
        """Close, since another connection needs the place."""
        self.transport.close()

    # ----------------------------------------------------------------------- the limits

    def _feed(self, data: bytes | memoryview) -> None:
        was_in_body, headers_read = self._in_body, self._headers_read
        self.parser.feed_data(data)
        if self._headers_read != headers_read or (was_in_body and not self._in_body):
            return  # `data` spans two parts of a message; how much belongs to which is not known
        if not self._in_body:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._refuse(
                    _too_large(f"the request has more than {HEADER_BYTES} bytes of headers")
                )
        else:
            self._body_fed += len(data)
            framing = self._body_fed - self._body_taken
            if framing > FRAMING_BYTES + FRAMING_SHARE * self._body_taken:
                self._refuse(
                    _too_large("the request has more chunk extensions and trailers than body")
                )

    def _too_much(self, what: str) -> None:
        self._refusal = _too_large(what)
        raise self._refusal

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > DISCARDED_BYTES:
            self.transport.close()

    def _refuse(self, error: ApiError, linger: float = LINGER) -> None:
        """Send `error`, unless another answer is being sent, and close the connection."""
        if self._refused:
            return
        self._refused = True
        self._header_arrived()
        self._limit.unmark_idle(self)
        client = self.client[0] if self.client else ""
        log.info("connection refused", client=client, status=error.status, reason=error.message)
        running = self.cycle is not None and not self.cycle.response_complete
        if running and (self.cycle.response_started or self.pipeline):
            self.transport.close()
            return
        if running:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_answer(error, self._format_error(error)))
        # If we closed with bytes unread, the kernel would reset the connection and lose the answer.
        if linger and self.transport.can_write_eof():
            self.transport.write_eof()
            self._timer = self.loop.call_later(linger, self.transport.close)
        else:
            self.transport.close()

    def _expect_header(self) -> None:
        self._timer = self.loop.call_later(self._header_patience, self.transport.close)

    def _header_arrived(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _too_large(what: str) -> ApiError:
    return ApiError(431, f"{what}: send fewer or shorter ones", code="headers_too_large")


def _answer(error: ApiError, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"x-request-id: %s\r\nconnection: close\r\n\r\n%s"
        % (
            error.status,
            HTTPStatus(error.status).phrase.encode(),
            len(body),
            request_id(None).encode(),
            body,
        )
    )


def limit_unread(listener: socket.socket, seconds: float) -> None:
    """Let the kernel close connections of `listener` whose peer acknowledges nothing for `seconds`.

    That is so if the peer is gone, or does not read (TCP_USER_TIMEOUT in tcp(7)).
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
