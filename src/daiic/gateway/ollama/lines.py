"""How Ollama's streams are written down: a JSON text on each line."""

from typing import ClassVar

import msgspec

from daiic.gateway.http.errors import ApiError
from daiic.gateway.ollama.errors import error_body


class Lines:
    """Lines, the last of which may be an error."""

    media_type: ClassVar[bytes] = b"application/x-ndjson"
    comment: ClassVar[bytes] = b""

    def error(self, error: ApiError) -> bytes:
        """Return `error` as a line."""
        return error_body(error) + b"\n"


def line(said: msgspec.Struct) -> bytes:
    """Return `said` as a line."""
    return msgspec.json.encode(said) + b"\n"
