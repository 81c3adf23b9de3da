"""A request's body: read within bounds of size and time, and decoded."""

import asyncio
from typing import TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.types import Receive

from daiic.gateway.http.body_memory import Body
from daiic.gateway.http.disconnect import ClientDisconnected
from daiic.gateway.http.errors import REQUEST_TIMEOUT, ApiError
from daiic.gateway.limits import ERROR_TEXT
from daiic.shown import shown

Decoded = TypeVar("Decoded")


def decode(data: bytes | bytearray, body: type[Decoded]) -> Decoded:
    """Return the request in `data`.

    Raises:
        ApiError: 400, with the field at fault as `param`.
    """
    try:
        return msgspec.json.decode(data, type=body)
    except RecursionError:
        raise ApiError(
            400, "the body is nested too deeply: send flatter JSON", code="invalid_json"
        ) from None
    except msgspec.ValidationError as error:
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
        raise ApiError(400, f"{param}: {what}" if param else what, param=param or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None


async def read_body(
    body: Body, headers: Headers, receive: Receive, limit: int, seconds: float
) -> None:
    """Add all of a request's body to `body`.

    Raises:
        ApiError: 408 if it takes longer than `seconds`, 413 if it is longer
            than `limit` bytes, 415 if it is not JSON by its header, 429 if
            there is no memory for it.
        ClientDisconnected: if the client leaves before it is complete.
    """
    # Browsers send other types across origins without a preflight, but not JSON.
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            415, "the body's type is not JSON: send the header Content-Type: application/json"
        )
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            await _read_all(body, receive, limit)
    except TimeoutError:
        late = "the request's body did not arrive in time: send it without pauses"
        raise ApiError(REQUEST_TIMEOUT, late, code="body_timeout") from None


async def _read_all(body: Body, receive: Receive, limit: int) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body.add(message.get("body", b""))
        more = message.get("more_body", False)
        if body.size > limit:
            raise _too_large(limit)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        f"the body is larger than {limit} bytes: send a smaller one, "
        "or ask the operator to raise max_body_bytes",
        code="body_too_large",
    )
