"""A client's connection, closed when no request comes through it for too long.

uvicorn bounds only the pause after an answer. A client that connects and says
nothing, or a header byte by byte, would hold its connection for ever.
"""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_PATIENCE = 30.0
"""Seconds in which the header of a request must arrive."""
UNREAD_PATIENCE = 60.0
"""Seconds after which a client that takes in nothing of its answer is cut off."""
KEEP_ALIVE = 75
"""Seconds between an answer and the next request."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with a bound on how long a header may take."""

    def __init__(self, *args: Any, header_patience: float, **named: Any) -> None:
        """`header_patience` is in seconds; the rest is uvicorn's."""
        super().__init__(*args, **named)
        self._header_patience = header_patience
        self._header_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        # What follows an answer is the next header, or what is left of a body nobody wants.
        if self._header_late is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_header()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._header_is_here()
        super().on_headers_complete()

    def connection_lost(self, error: Exception | None) -> None:
        self._header_is_here()
        super().connection_lost(error)

    def _expect_header(self) -> None:
        self._header_late = self.loop.call_later(self._header_patience, self.transport.close)

    def _header_is_here(self) -> None:
        if self._header_late is not None:
            self._header_late.cancel()
            self._header_late = None


def bound_unread(listener: socket.socket, seconds: float) -> None:
    """Let the kernel cut off the connections of `listener` whose peer takes in nothing so long.

    That is a peer that is gone as well as one that does not read (TCP_USER_TIMEOUT, tcp(7)).
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
