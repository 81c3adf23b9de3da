"""The images and recordings of one request, checked and counted."""

from collections.abc import Callable, Iterable

from daiic.gateway.http.errors import ApiError
from daiic.gateway.limits import MEDIA
from daiic.gateway.media.data_url import data_in, from_base64, is_data_url
from daiic.gateway.media.hosts import NotAllowed
from daiic.gateway.media.kinds import AUDIO, image_type
from daiic.wire import daiic_pb2 as pb


class MediaReader:
    """Makes what a request shows and plays into what a task holds; `where` is for errors."""

    def __init__(self, allowed_hosts: Iterable[str], count: Callable[[bytes], None]) -> None:
        """Images are fetched from `allowed_hosts`; `count` is called with what arrives of them."""
        self._allowed = tuple(allowed_hosts)
        self._count = count
        self._number = 0

    async def image(self, url: str, where: str) -> pb.Media:
        """Return the image at `url`, which may hold it.

        Raises:
            ApiError: 400 if it cannot be had, or is none.
        """
        self._one_more(where)
        if is_data_url(url):
            return _image(data_in(url, where), where)
        # Imported here: few gateways fetch anything, and the client of HTTP is large.
        from daiic.gateway.media.fetch import NotFetched, fetch

        try:
            return _image(await fetch(url, self._allowed, self._count), where)
        except NotAllowed as refused:
            raise ApiError(
                400, f"{where}: {refused}", param=where, code="media_not_allowed"
            ) from None
        except NotFetched as failed:
            raise ApiError(
                400, f"{where}: {failed}", param=where, code="media_not_fetched"
            ) from None

    def image_in(self, text: str, where: str) -> pb.Media:
        """Return the image in the base64 `text`.

        Raises:
            ApiError: 400 if it is none.
        """
        self._one_more(where)
        return _image(from_base64(text, where), where)

    def audio_in(self, text: str, kind: str, where: str) -> pb.Media:
        """Return the recording in the base64 `text`, of a `kind` such as "wav".

        Raises:
            ApiError: 400 if it is none.
        """
        self._one_more(where)
        if kind not in AUDIO:
            raise ApiError(
                400, f"{where}.format: must be one of {', '.join(AUDIO)}", param=f"{where}.format"
            )
        data = from_base64(text, f"{where}.data")
        if not data:
            raise ApiError(400, f"{where}.data: is empty", param=f"{where}.data")
        return pb.Media(data=data, type=AUDIO[kind])

    def _one_more(self, where: str) -> None:
        self._number += 1
        if self._number > MEDIA:
            raise ApiError(
                400,
                f"{where}: a conversation has at most {MEDIA} images and recordings",
                param=where,
            )


def _image(data: bytes, where: str) -> pb.Media:
    kind = image_type(data)
    if kind is None:
        raise ApiError(
            400,
            f"{where}: is not a PNG, JPEG or WebP image: convert it to one of them",
            param=where,
        )
    return pb.Media(data=data, type=kind)
