"""A request that ends without an answer, before any API has put it into a shape of its own."""

from collections.abc import Callable
from typing import Literal

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "rate_limit_error",
    "overloaded_error",
    "server_error",
]

INVALID: ErrorType = "invalid_request_error"
OVERLOADED: ErrorType = "overloaded_error"
SERVER: ErrorType = "server_error"

REQUEST_TIMEOUT = 408
CLIENT_CLOSED_REQUEST = 499
"""The status under which logs and metrics count requests whose client left; as nginx does."""


class ApiError(Exception):
    """A request that ends without an answer.

    `status` is HTTP's; `param` names the field at fault, `code` the error for
    programs; `retry_after` is in seconds.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: ErrorType = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer's header says about the error."""
        headers = []
        if self.retry_after is not None:
            headers.append((b"retry-after", str(self.retry_after).encode()))
        if self.status == REQUEST_TIMEOUT:  # the rest of the body may never come
            headers.append((b"connection", b"close"))
        return headers


ErrorFormat = Callable[[ApiError], bytes]
"""How an API writes an error: as a JSON text."""


def missing_parameter(param: str) -> ApiError:
    """Return the refusal of a request that lacks `param`."""
    return ApiError(400, f"{param}: is missing", param=param)


def unsupported_parameter(param: str, reason: str) -> ApiError:
    """Return the refusal of a parameter that this cluster cannot honour."""
    return ApiError(400, f"{param}: {reason}", param=param, code="unsupported_parameter")
