"""What endpoints do with a request that they have read: check it, answer it, report failures."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import structlog
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from daiic.errors import TaskError
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.body_memory import Body
from daiic.gateway.http.disconnect import ClientDisconnected, cancel_on_disconnect
from daiic.gateway.http.errors import CLIENT_CLOSED_REQUEST, SERVER, ApiError, ErrorFormat
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import ResponseWriter
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


class PostEndpoint(ABC, Generic[Request]):
    """An ASGI application for one POST route; its subclasses differ in how a body is read."""

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
        response = ResponseWriter(send, self._format_error, scope["state"]["send_more"])
        seconds = self._gateway.settings.request_timeout
        headers = Headers(scope=scope)
        try:
            with self._gateway.bodies.of(entry.client) as body:
                request = await self._read(body, headers, receive)
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

    @abstractmethod
    async def _read(self, body: Body, headers: Headers, receive: Receive) -> Request:
        """Return the request; `body` counts what it takes.

        Raises:
            ApiError: if it cannot be read.
            ClientDisconnected: if the client leaves before it is complete.
        """

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
