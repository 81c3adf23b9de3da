"""Errors in Ollama's shape: a sentence."""

import msgspec

from daiic.gateway.http.errors import ApiError


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: str


def error_body(error: ApiError) -> bytes:
    """Return `error` as Ollama's clients expect it."""
    return msgspec.json.encode(ErrorBody(error.message))
