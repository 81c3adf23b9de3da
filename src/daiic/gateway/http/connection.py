"""A client's connection: what it may send before anybody has looked at its key, and how slowly.

uvicorn bounds only the pause after an answer. Headers without an end, chunks
that are all framing and requests piled up behind one another would be kept
as they come, and a header that arrives byte by byte waited for. What a
bound is, and what happens at it, is said in `bounds`.
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
    """uvicorn's connection, with bounds on what comes in."""

    def __init__(
        self,
        *args: Any,
        header_patience: float,
        connection_limit: ConnectionLimit,
        format_error: ErrorFormat,
        **named: Any,
    ) -> None:
        """`header_patience` is in seconds; the rest is uvicorn's."""
        super().__init__(*args, **named)
        self._header_patience = header_patience
        self._limit = connection_limit
        self._format_error = format_error
        self._header_late: asyncio.TimerHandle | None = None
        self._refusal: ApiError | None = None
        self._refused = False
        self._in_body = False
        self._heads = 0
        """Headers that have been complete."""
        self._head_bytes = 0
        self._head_lines = 0
        self._body_fed = 0
        """Bytes of the current body as they came, and `_body_taken` without their framing."""
        self._body_taken = 0
        self._discarded = 0

    # ------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limit.most and not self._limit.evict_idle():
            self._refuse(
                ApiError(503, "too many connections: try again later", type=OVERLOADED), linger=0
            )
            return
        self._limit.mark_idle(self)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._refused:
            self._discard(len(data))
            return
        # What follows an answer is the next header, or what is left of a body nobody wants.
        if self._header_late is None and (self.cycle is None or self.cycle.response_complete):
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
            pass  # what follows is in a protocol that is not spoken here
        except httptools.HttpParserError:
            self._refuse(self._refusal or ApiError(400, "that is not an HTTP request"))

    def connection_lost(self, error: Exception | None) -> None:
        self._header_is_here()
        self._limit.unmark_idle(self)
        super().connection_lost(error)

    # ---------------------------------------------------------- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_lines += 1
        if self._head_lines > HEADER_LINES:
            self._too_much(f"more than {HEADER_LINES} header lines")
        # Trailers come after the application has read the headers, and are for nobody here.
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._header_is_here()
        self._limit.unmark_idle(self)
        self._in_body = True
        self._heads += 1
        self._head_bytes = self._head_lines = 0
        self._body_fed = self._body_taken = 0
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED:
            self._refusal = ApiError(400, f"more than {PIPELINED} requests wait on this connection")
            raise self._refusal

    def on_body(self, body: bytes) -> None:
        self._body_taken += len(body)
        if self.cycle.response_complete:
            self._discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._head_lines = 0
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

    # ----------------------------------------------------------------------- the bounds

    def _feed(self, data: bytes | memoryview) -> None:
        was_in_body, heads = self._in_body, self._heads
        self.parser.feed_data(data)
        if self._heads != heads or (was_in_body and not self._in_body):
            return  # how much of `data` belongs to what begins in it is not known
        if not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > HEADER_BYTES:
                self._refuse(_too_large(f"more than {HEADER_BYTES} bytes of headers"))
        else:
            self._body_fed += len(data)
            framing = self._body_fed - self._body_taken
            if framing > FRAMING_BYTES + FRAMING_SHARE * self._body_taken:
                self._refuse(_too_large("more chunk extensions and trailers than body"))

    def _too_much(self, what: str) -> None:
        self._refusal = _too_large(what)
        raise self._refusal

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > DISCARDED_BYTES:
            self.transport.close()

    def _refuse(self, why: ApiError, linger: float = LINGER) -> None:
        """Say `why`, unless an answer is on its way here, and end the connection."""
        if self._refused:
            return
        self._refused = True
        self._header_is_here()
        self._limit.unmark_idle(self)
        client = self.client[0] if self.client else ""
        log.info("connection refused", client=client, status=why.status, reason=why.message)
        running = self.cycle is not None and not self.cycle.response_complete
        if running and (self.cycle.response_started or self.pipeline):
            self.transport.close()
            return
        if running:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_answer(why, self._format_error(why)))
        # Closed at once, with bytes of the client unread, the kernel would take the answer back.
        if linger and self.transport.can_write_eof():
            self.transport.write_eof()
            self._header_late = self.loop.call_later(linger, self.transport.close)
        else:
            self.transport.close()

    def _expect_header(self) -> None:
        self._header_late = self.loop.call_later(self._header_patience, self.transport.close)

    def _header_is_here(self) -> None:
        if self._header_late is not None:
            self._header_late.cancel()
            self._header_late = None


def _too_large(what: str) -> ApiError:
    return ApiError(431, f"{what}: send fewer, shorter ones", code="headers_too_large")


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


def bound_unread(listener: socket.socket, seconds: float) -> None:
    """Let the kernel cut off the connections of `listener` whose peer takes in nothing so long.

    That is a peer that is gone as well as one that does not read (TCP_USER_TIMEOUT, tcp(7)).
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
