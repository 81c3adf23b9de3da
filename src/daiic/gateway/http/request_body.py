"""A request's body: read within bounds of size and time, and decoded."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.types import Receive

from daiic.gateway.http.body_memory import Body
from daiic.gateway.http.disconnect import ClientDisconnected
from daiic.gateway.http.errors import REQUEST_TIMEOUT, ApiError
from daiic.gateway.limits import BODY_PATIENCE, ERROR_TEXT, PACE_BYTES
from daiic.gateway.settings import GatewaySettings
from daiic.shown import shown

Decoded = TypeVar("Decoded")


def decode(data: bytes | bytearray, body: type[Decoded]) -> Decoded:
    """Return the request in `data`.

    Raises:
        ApiError: 400, with the field at fault as `param`.
    """
    try:
        with _uncollected():
            return msgspec.json.decode(data, type=body)
    except RecursionError:
        raise ApiError(
            400, "the body is nested too deeply: send flatter JSON", code="invalid_json"
        ) from None
    except msgspec.ValidationError as error:
        raise wrong_field(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Put off collecting garbage: while millions of lists are made, that takes most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def wrong_field(error: msgspec.ValidationError) -> ApiError:
    """Return the refusal of a request whose field is not as its type wants it."""
    what, _, path = str(error).rpartition(" - at `$")
    if not what:
        what, path = path, ""
    # msgspec quotes an unknown value as it came.
    what = shown(what, ERROR_TEXT)
    param = path.rstrip("`").lstrip(".")
    if "missing required field" in what:
        field = what.split("`")[1]
        param = f"{param}.{field}" if param else field
        what = "is missing"
    return ApiError(400, f"{param}: {what}" if param else what, param=param or None)


def media_type(headers: Headers) -> str:
    """Return what the body is by its header, in lower case and without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(
    body: Body,
    take: Callable[[bytes], None],
    headers: Headers,
    receive: Receive,
    settings: GatewaySettings,
) -> None:
    """Give all pieces of a request's body to `take`, which counts them with `body`.

    Raises:
        ApiError: 408 if it takes too long, 413 if it is too long, and what
            `take` raises.
        ClientDisconnected: if the client leaves before it is complete.
    """
    limit = settings.max_body_bytes
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    started = asyncio.get_running_loop().time()
    more = True
    try:
        async with asyncio.timeout(None) as patience:
            while more:
                seconds = BODY_PATIENCE + body.size / PACE_BYTES
                patience.reschedule(started + min(seconds, settings.request_timeout))
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                take(message.get("body", b""))
                more = message.get("more_body", False)
                if body.size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        late = "the request's body did not arrive in time: send it without pauses"
        raise ApiError(REQUEST_TIMEOUT, late, code="body_timeout") from None


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        f"the body is larger than {limit} bytes: send a smaller one, "
        "or ask the operator to raise max_body_bytes",
        code="body_too_large",
    )
