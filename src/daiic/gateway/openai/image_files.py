"""GET /v1/images/files/<file>: the images that clients asked for as URLs."""

from starlette.requests import Request
from starlette.responses import Response

from daiic.gateway.http.errors import ApiError
from daiic.gateway.openai.image_store import ImageStore

FILES = "/v1/images/files"


def serve_file(images: ImageStore, request: Request) -> Response:
    """Answer a GET; knowing the name is permission to fetch the file."""
    name = request.path_params["file"]
    content = images.get(name)
    if content is None:
        raise ApiError(
            404,
            f"there is no such image: they can be fetched for {images.ttl:g} s after they are made",
            code="image_not_found",
        )
    return Response(
        content,
        media_type=f"image/{name.rpartition('.')[2]}",
        headers={"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"},
    )
