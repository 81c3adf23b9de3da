"""Errors in Anthropic's shape."""

from typing import Literal

import msgspec

from daiic.gateway.http.errors import ApiError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Their types by HTTP status; other errors are the request's below 500, and ours from there."""


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is wrong."""

    type: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail
    type: Literal["error"] = "error"


def error_body(error: ApiError) -> bytes:
    """Return `error` as Anthropic's clients expect it."""
    usual = "invalid_request_error" if error.status < 500 else "api_error"
    detail = ErrorDetail(_TYPES.get(error.status, usual), error.message)
    return msgspec.json.encode(ErrorBody(detail))
