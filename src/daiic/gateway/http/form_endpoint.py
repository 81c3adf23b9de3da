"""An endpoint that takes forms (multipart/form-data), because files come with its requests."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Receive

from daiic.gateway.http.body_memory import Body
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.form import Form
from daiic.gateway.http.post_endpoint import PostEndpoint, Request
from daiic.gateway.http.request_body import media_type, read_body
from daiic.gateway.settings import GatewaySettings


class FormEndpoint(PostEndpoint[Request]):
    """An ASGI application for one POST route; files are fields of type `Upload`."""

    async def _read(self, body: Body, headers: Headers, receive: Receive) -> Request:
        settings = self._gateway.settings
        if media_type(headers) != "multipart/form-data":
            raise ApiError(
                415,
                "the body's type is not a form: send the header Content-Type: multipart/form-data "
                "with a boundary, as an HTTP library does for files",
            )
        if not _may_post(headers, settings):
            raise ApiError(
                403,
                "a web page of another origin has sent this form: have the operator name the "
                "origin in cors_origins, or this gateway's own address in public_url",
                type="permission_error",
                code="origin_not_allowed",
            )
        form = Form(headers["content-type"])

        def take(piece: bytes) -> None:
            body.count(piece)
            form.feed(piece)

        await read_body(body, take, headers, receive, settings)
        return form.decode(self._body)


def _may_post(headers: Headers, settings: GatewaySettings) -> bool:
    """Return whether no browser says that a page of a foreign origin sends the request.

    Browsers send forms to any origin without asking it first, but they tell
    whose page sends them; programs have no `Origin`.
    """
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    if "*" in settings.cors_origins or origin in settings.cors_origins:
        return True
    own = {headers.get("host", "").lower(), urlsplit(settings.public_url).netloc.lower()}
    return _authority(origin) in own - {""}


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # brackets that do not match
        return ""
