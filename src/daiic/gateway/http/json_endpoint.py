"""An endpoint that takes JSON: reads the request, checks it, answers it, reports what failed."""

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import structlog
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from daiic.errors import TaskError
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.disconnect import ClientDisconnected, cancel_on_disconnect
from daiic.gateway.http.errors import CLIENT_CLOSED_REQUEST, SERVER, ApiError, ErrorFormat
from daiic.gateway.http.request_body import decode, read_body
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import ResponseWriter
from daiic.gateway.limits import BODY_PATIENCE
from daiic.gateway.monitoring.activity import Activity, Endpoint
from daiic.work import WorkKind

log = structlog.get_logger()


class Checked(Protocol):
    """A request body that can tell what it must not ask for."""

    @property
    def model(self) -> str | None: ...

    def check(self) -> None: ...


Request = TypeVar("Request", bound=Checked)
Answer = Callable[[Gateway, Request, RequestContext], Awaitable[None]]


class JsonEndpoint(Generic[Request]):
    """An ASGI application for one POST route."""

    def __init__(
        self,
        gateway: Gateway,
        endpoint: Endpoint,
        work: WorkKind,
        body: type[Request],
        answer: Answer[Request],
        format_error: ErrorFormat,
    ) -> None:
        """`answer` sends the response; it is cancelled when the client disconnects.

        `endpoint` is its name in logs and metrics, `work` what it asks of the cluster.
        """
        self._gateway = gateway
        self._endpoint = endpoint
        self._unit = work.unit
        self._body = body
        self._answer = answer
        self._format_error = format_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = AccessLogEntry.of(scope)
        entry.endpoint = self._endpoint
        response = ResponseWriter(send, self._format_error)
        seconds = self._gateway.settings.request_timeout
        headers = Headers(scope=scope)
        try:
            with self._gateway.bodies.of(entry.client) as body:
                await read_body(
                    body,
                    headers,
                    receive,
                    self._gateway.settings.max_body_bytes,
                    min(BODY_PATIENCE, seconds),
                )
                request = decode(body.take(), self._body)
                entry.model = request.model
                request.check()
                activity = Activity(entry.id, self._endpoint, self._unit, request.model or "")
                base_url = self._gateway.settings.public_url.rstrip("/") or (
                    f"{scope['scheme']}://{headers.get('host', '')}"
                )
                async with cancel_on_disconnect(receive, response, seconds):
                    context = RequestContext(response, activity, base_url, entry.client)
                    await self._run(request, entry, context)
        except ClientDisconnected:
            entry.status = CLIENT_CLOSED_REQUEST
        except ApiError as error:
            await response.send_error(error)
        except Exception:
            log.exception("a request failed", request_id=entry.id)
            await response.send_error(
                ApiError(
                    500,
                    f"the gateway failed; its log has the details under {entry.id}",
                    type=SERVER,
                    code="internal",
                )
            )
        finally:
            response.stop_comments()

    async def _run(self, request: Request, entry: AccessLogEntry, context: RequestContext) -> None:
        self._gateway.activity.begin(context.activity)
        outcome = "cancelled"
        try:
            await self._answer(self._gateway, request, context)
            outcome = "ok"
        except TaskError as error:
            outcome = error.name.lower()
            raise self._gateway.explain(error) from error
        except ApiError as error:
            outcome = error.code or "bad_request"
            raise
        except Exception:
            outcome = "internal"
            raise
        finally:
            entry.model = context.activity.model
            self._gateway.activity.end(context.activity, outcome)
