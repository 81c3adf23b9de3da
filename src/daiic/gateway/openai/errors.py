"""Errors in OpenAI's shape: message, type, param and code."""

import msgspec

from daiic.gateway.http.errors import ApiError


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail


def error_body(error: ApiError) -> bytes:
    """Return `error` as OpenAI's clients expect it."""
    detail = ErrorDetail(error.message, error.type, error.param, error.code)
    return msgspec.json.encode(ErrorBody(detail))
