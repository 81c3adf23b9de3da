"""GET /api/cluster: the cluster as it is now, once a second, for the page."""

import msgspec
from starlette.types import Receive, Scope, Send

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.disconnect import ClientDisconnected, cancel_on_disconnect
from daiic.gateway.http.errors import ApiError, ErrorFormat
from daiic.gateway.http.response_writer import ResponseWriter, server_sent_event
from daiic.gateway.monitoring.cluster_snapshot import snapshot

FOREVER = 365 * 86400.0


class ClusterStream:
    """An ASGI application; everyone who watches gets the same bytes."""

    def __init__(self, gateway: Gateway, format_error: ErrorFormat) -> None:
        self._gateway = gateway
        self._format_error = format_error
        self._encoded: tuple[float, bytes] = (0.0, b"")
        self._watching: set[ResponseWriter] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        AccessLogEntry.of(scope).endpoint = "live"
        response = ResponseWriter(send, self._format_error)
        self._watching.add(response)
        try:
            async with cancel_on_disconnect(receive, response, FOREVER):
                with self._gateway.view.watched():
                    await self._follow(response)
        except ClientDisconnected:
            pass
        except ApiError as error:
            await response.send_error(error)
        finally:
            self._watching.discard(response)

    async def _follow(self, response: ResponseWriter) -> None:
        async for _ in self._gateway.view.updates():
            if response.complete:
                break
            await response.write(self._snapshot())

    async def close(self) -> None:
        """End all streams, so that stopping need not wait for those who watch."""
        for response in list(self._watching):
            await response.write(b"", last=True)

    def _snapshot(self) -> bytes:
        moment = self._gateway.view.asked_at
        if moment != self._encoded[0]:
            self._encoded = (
                moment,
                server_sent_event(msgspec.json.encode(snapshot(self._gateway))),
            )
        return self._encoded[1]
