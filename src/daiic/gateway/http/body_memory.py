"""The memory that all request bodies take, each until its request ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from daiic.gateway.http.client import Client
from daiic.gateway.http.errors import OVERLOADED, ApiError
from daiic.gateway.limits import BODIES_BYTES, CLIENT_BODIES_BYTES

RETRY_AFTER = 2
"""Seconds until a client that was refused for want of memory may try again."""


class Body:
    """What has arrived of one request's body; `size` is how much that is, in bytes."""

    __slots__ = ("_bodies", "_client", "_content", "size")

    def __init__(self, bodies: "BodyMemory", client: str) -> None:
        self._bodies = bodies
        self._client = client
        self._content = bytearray()
        self.size = 0

    def count(self, piece: bytes) -> None:
        """Count the next piece, which the caller keeps.

        Raises:
            ApiError: 429 if there is no memory for it.
        """
        self._bodies.reserve(self._client, len(piece))
        self.size += len(piece)

    def add(self, piece: bytes) -> None:
        """Count the next piece and append it.

        Raises:
            ApiError: 429 if there is no memory for it.
        """
        self.count(piece)
        self._content += piece

    def take(self) -> bytearray:
        """Return the content and let go of it; what it is decoded to counts in its place."""
        content, self._content = self._content, bytearray()
        return content


class BodyMemory:
    """Counts the bytes that each client's bodies take."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._total = 0

    @contextmanager
    def of(self, client: Client) -> Iterator[Body]:
        """Yield an empty body of `client`; its memory is released afterwards."""
        body = Body(self, client.id)
        try:
            yield body
        finally:
            self._release(client.id, body.size)

    def reserve(self, client: str, size: int) -> None:
        """Count `size` more bytes for `client`.

        Raises:
            ApiError: 429 if there would be too many. A body is never refused
                here for its own size alone: that has a limit of its own.
        """
        held = self._held.get(client, 0)
        if (held and held + size > CLIENT_BODIES_BYTES) or (
            self._total and self._total + size > BODIES_BYTES
        ):
            raise ApiError(
                429,
                "running requests take all the memory that there is for their bodies: try again "
                f"in {RETRY_AFTER} s, with fewer requests at once, or shorter ones",
                type=OVERLOADED,
                code="bodies_too_large",
                retry_after=RETRY_AFTER,
            )
        self._held[client] = held + size
        self._total += size

    def _release(self, client: str, size: int) -> None:
        self._total -= size
        left = self._held.get(client, 0) - size
        if left > 0:
            self._held[client] = left
        else:
            self._held.pop(client, None)
