"""A daemon's HTTP port for probes and Prometheus: /healthz, /readyz, /metrics."""

import asyncio
import contextlib
from collections.abc import Callable
from http import HTTPStatus

import h11
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from daiic.wire.address import split_host_port

PATIENCE = 10.0
"""Seconds that a client may take over one request."""

TEXT = "text/plain; charset=utf-8"


class StatusPort:
    """Serves the three paths on one TCP port."""

    def __init__(
        self, registry: CollectorRegistry, why_not_ready: Callable[[], str | None]
    ) -> None:
        """`why_not_ready` gives `None` when the daemon serves, else a reason for people."""
        self._registry = registry
        self._why_not_ready = why_not_ready
        self._server: asyncio.Server | None = None

    async def open(self, listen: str) -> None:
        """Listen on "host:port"; an empty `listen` opens nothing.

        Raises:
            ValueError, OSError: if `listen` is malformed or cannot be bound.
        """
        if listen:
            host, port = split_host_port(listen)
            self._server = await asyncio.start_server(self._serve, host, port)

    @property
    def port(self) -> int:
        """The TCP port; 0 if none is open."""
        return self._server.sockets[0].getsockname()[1] if self._server else 0

    async def close(self) -> None:
        """Stop listening and drop open connections."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, h11.RemoteProtocolError):
            async with asyncio.timeout(PATIENCE):
                await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        if not isinstance(event, h11.Request):
            return
        status, content_type, body = self._page(event.target.partition(b"?")[0])
        headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        for part in (
            h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers),
            h11.Data(data=b"" if event.method == b"HEAD" else body),
            h11.EndOfMessage(),
        ):
            writer.write(connection.send(part) or b"")
        await writer.drain()

    def _page(self, path: bytes) -> tuple[HTTPStatus, str, bytes]:
        if path == b"/healthz":
            return HTTPStatus.OK, TEXT, b"ok\n"
        if path == b"/readyz":
            reason = self._why_not_ready()
            if reason is None:
                return HTTPStatus.OK, TEXT, b"ready\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{reason}\n".encode()
        if path == b"/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return HTTPStatus.NOT_FOUND, TEXT, b"/healthz, /readyz and /metrics are served here\n"
