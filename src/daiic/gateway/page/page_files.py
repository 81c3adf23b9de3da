"""The page's files, read once, and served with a policy that lets in nothing from elsewhere."""

import hashlib
import mimetypes
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.errors import ApiError

INDEX = "index.html"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PageFiles:
    """Serves `/` and `/page/<file>` from the package."""

    def __init__(self) -> None:
        folder = files("daiic.gateway.page").joinpath("assets")
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        self._tags = {
            name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in self._files.items()
        }

    def serve(self, request: Request) -> Response:
        """Answer a GET; a file that the browser has is not sent again."""
        AccessLogEntry.of(request.scope).endpoint = "page"
        name = request.path_params.get("file", INDEX)
        if name not in self._files:
            raise ApiError(404, f"there is no file {name}", code="not_found")
        headers = {**HEADERS, "ETag": self._tags[name]}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(self._files[name], media_type=media_type, headers=headers)
