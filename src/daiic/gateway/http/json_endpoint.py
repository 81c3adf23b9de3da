"""An endpoint that takes JSON."""

from starlette.datastructures import Headers
from starlette.types import Receive

from daiic.gateway.http.body_memory import Body
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.post_endpoint import PostEndpoint, Request
from daiic.gateway.http.request_body import decode, media_type, read_body


class JsonEndpoint(PostEndpoint[Request]):
    """An ASGI application for one POST route."""

    async def _read(self, body: Body, headers: Headers, receive: Receive) -> Request:
        # Browsers send other types across origins without a preflight, but not JSON.
        if media_type(headers) != "application/json":
            raise ApiError(
                415, "the body's type is not JSON: send the header Content-Type: application/json"
            )
        await read_body(body, body.add, headers, receive, self._gateway.settings)
        return decode(body.take(), self._body)
