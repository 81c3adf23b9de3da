"""A daemon's HTTP port for probes and Prometheus: /healthz, /readyz, /metrics."""

import asyncio
import contextlib
from collections.abc import Callable
from http import HTTPStatus

import h11
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from daiic.service.host_header import BadHost, host_named, is_local_name
from daiic.shown import MESSAGE, shown
from daiic.wire.address import is_loopback, split_host_port

PATIENCE = 10.0
"""Seconds that a client may take over one request: the connection ends."""
HEADER_BYTES = 16 << 10
"""A request's line and header lines: 431, and the connection ends."""
DISCARDED_BYTES = 1 << 20
"""Of a refused request's rest: the connection ends."""
CONNECTIONS = 64
"""Open connections: the oldest ends."""

TEXT = "text/plain; charset=utf-8"

Page = tuple[HTTPStatus, str, bytes]


class StatusPort:
    """Serves the three paths on one TCP port."""

    def __init__(
        self, registry: CollectorRegistry, why_not_ready: Callable[[], str | None]
    ) -> None:
        """`why_not_ready` gives `None` when the daemon serves, else a reason for people."""
        self._registry = registry
        self._why_not_ready = why_not_ready
        self._server: asyncio.Server | None = None
        self._only_local_names = False
        self._open: dict[asyncio.StreamWriter, None] = {}

    async def open(self, listen: str) -> None:
        """Listen on "host:port"; an empty `listen` opens nothing.

        On loopback only requests for local names are answered.

        Raises:
            ValueError, OSError: if `listen` is malformed or cannot be bound.
        """
        if listen:
            host, port = split_host_port(listen)
            self._server = await asyncio.start_server(self._serve, host, port, limit=HEADER_BYTES)
            addresses = [socket.getsockname() for socket in self._server.sockets]
            self._only_local_names = all(map(is_loopback, addresses))

    @property
    def port(self) -> int:
        """The TCP port; 0 if none is open."""
        return self._server.sockets[0].getsockname()[1] if self._server else 0

    async def close(self) -> None:
        """Stop listening and drop open connections."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > CONNECTIONS:
            next(iter(self._open)).transport.abort()
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._answer(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)
        method = b""
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(4096))
            if not isinstance(event, h11.Request):
                return
            method = event.method
            page = self._page(event)
        except h11.RemoteProtocolError as error:
            page = HTTPStatus(error.error_status_hint), TEXT, f"{shown(str(error))}\n".encode()
        status, content_type, body = page
        headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        for part in (
            h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers),
            h11.Data(data=b"" if method == b"HEAD" else body),
            h11.EndOfMessage(),
        ):
            writer.write(connection.send(part) or b"")
        await writer.drain()
        if connection.their_state is h11.ERROR:
            # Closed with bytes of the client unread, the kernel would take the answer back.
            writer.write_eof()
            left = DISCARDED_BYTES
            while left > 0 and (read := await reader.read(4096)):
                left -= len(read)

    def _page(self, request: h11.Request) -> Page:
        fields = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
        try:
            host = host_named(fields)
        except BadHost as error:
            return HTTPStatus.BAD_REQUEST, TEXT, f"{error}\n".encode()
        if self._only_local_names and not is_local_name(host):
            what = "this port is for this machine: ask for it as localhost or by its address\n"
            return HTTPStatus.FORBIDDEN, TEXT, what.encode()
        path = request.target.partition(b"?")[0]
        if path == b"/healthz":
            return HTTPStatus.OK, TEXT, b"ok\n"
        if path == b"/readyz":
            reason = self._why_not_ready()
            if reason is None:
                return HTTPStatus.OK, TEXT, b"ready\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{shown(reason, MESSAGE)}\n".encode()
        if path == b"/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return HTTPStatus.NOT_FOUND, TEXT, b"/healthz, /readyz and /metrics are served here\n"
