"""What a GET route answers with."""

import msgspec
from starlette.responses import Response


def json_response(answer: msgspec.Struct) -> Response:
    """Return `answer` as JSON, with status 200."""
    return Response(msgspec.json.encode(answer), media_type="application/json")
