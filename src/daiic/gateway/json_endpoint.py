"""An endpoint that takes JSON: reads, checks, answers, and says what went wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from daiic.errors import TaskError
from daiic.gateway.activity import Activity, Kind
from daiic.gateway.bodies import Body
from daiic.gateway.bounds import BODY_PATIENCE
from daiic.gateway.departure import ClientGone, while_client_waits
from daiic.gateway.errors import BODY_LATE, CLIENT_GONE, SERVER, ApiError
from daiic.gateway.exchange import Exchange
from daiic.gateway.gateway import Gateway
from daiic.gateway.reply import Reply
from daiic.gateway.requests import decode

log = structlog.get_logger()


class Checked(Protocol):
    """A request body that knows what it may not ask for."""

    @property
    def model(self) -> str | None: ...

    def check(self) -> None: ...


Request = TypeVar("Request", bound=Checked)


@dataclass(slots=True)
class Call:
    """What an answer is written to, and for whom.

    `base_url` is how the client reaches this gateway; `client` is its key's name or its address.
    """

    reply: Reply
    activity: Activity
    base_url: str
    client: str


Answer = Callable[[Gateway, Request, Call], Awaitable[None]]


class JsonEndpoint(Generic[Request]):
    """An ASGI application for one POST route."""

    def __init__(
        self, gateway: Gateway, kind: Kind, body: type[Request], answer: Answer[Request]
    ) -> None:
        """`answer` sends the reply; it is cancelled when the client leaves."""
        self._gateway = gateway
        self._kind = kind
        self._body = body
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        exchange.endpoint = self._kind
        reply = Reply(send)
        seconds = self._gateway.settings.request_timeout
        headers = Headers(scope=scope)
        try:
            with self._gateway.bodies.of(exchange.client) as body:
                await read_body(
                    body,
                    headers,
                    receive,
                    self._gateway.settings.max_body_bytes,
                    min(BODY_PATIENCE, seconds),
                )
                request = decode(body.take(), self._body)
                exchange.model = request.model
                request.check()
                activity = Activity(exchange.id, self._kind, request.model or "")
                base_url = self._gateway.settings.public_url.rstrip("/") or (
                    f"{scope['scheme']}://{headers.get('host', '')}"
                )
                async with while_client_waits(receive, reply, seconds):
                    call = Call(reply, activity, base_url, exchange.client)
                    await self._run(request, exchange, call)
        except ClientGone:
            exchange.status = CLIENT_GONE
        except ApiError as error:
            await reply.fail(error)
        except Exception:
            log.exception("a request failed", request_id=exchange.id)
            await reply.fail(
                ApiError(
                    500,
                    f"the gateway failed; its log says more under {exchange.id}",
                    kind=SERVER,
                    code="internal",
                )
            )
        finally:
            reply.close()

    async def _run(self, request: Request, exchange: Exchange, call: Call) -> None:
        self._gateway.activity.begin(call.activity)
        outcome = "cancelled"
        try:
            await self._answer(self._gateway, request, call)
            outcome = "ok"
        except TaskError as error:
            outcome = error.name.lower()
            raise self._gateway.explain(error) from error
        except ApiError as error:
            outcome = error.detail.code or "bad_request"
            raise
        except Exception:
            outcome = "internal"
            raise
        finally:
            exchange.model = call.activity.model
            self._gateway.activity.end(call.activity, outcome)


async def read_body(
    body: Body, headers: Headers, receive: Receive, limit: int, seconds: float
) -> None:
    """Add all of a request's body to `body`.

    Raises:
        ApiError: 408 if it takes longer than `seconds`, 413 if it is longer
            than `limit` bytes, 415 if it is not JSON by its header, 429 if
            there is no memory for it.
        ClientGone: if it does not arrive whole.
    """
    # Browsers send other types across origins without asking; JSON they do not.
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "send the header Content-Type: application/json")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            await _take_all(body, receive, limit)
    except TimeoutError:
        late = "the body of the request did not arrive in time: send it at once"
        raise ApiError(BODY_LATE, late, code="body_timeout") from None


async def _take_all(body: Body, receive: Receive, limit: int) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body.add(message.get("body", b""))
        more = message.get("more_body", False)
        if body.size > limit:
            raise _too_large(limit)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        f"the body is larger than {limit} bytes: send less, "
        "or have the operator raise max_body_bytes",
        code="body_too_large",
    )
