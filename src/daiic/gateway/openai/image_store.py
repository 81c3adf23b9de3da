"""Images that clients asked for as URLs, kept in memory for a limited time and size."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable


class ImageStore:
    """Files by names that cannot be guessed; the oldest is dropped when memory is short."""

    def __init__(
        self, ttl: float, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`ttl` is in seconds."""
        self.ttl = ttl
        self._max_bytes = max_bytes
        self._clock = clock
        self._files: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def put(self, content: bytes, suffix: str) -> str:
        """Keep `content` and return its name, which ends with `suffix` after a dot."""
        name = f"{secrets.token_urlsafe(24)}.{suffix}"
        self._files[name] = (self._clock() + self.ttl, content)
        self._bytes += len(content)
        self._expire()
        while self._bytes > self._max_bytes and len(self._files) > 1:
            self._drop(next(iter(self._files)))
        return name

    def get(self, name: str) -> bytes | None:
        """Return the file, `None` if it is unknown or expired."""
        self._expire()
        held = self._files.get(name)
        return held[1] if held else None

    def _expire(self) -> None:
        now = self._clock()
        while self._files:
            name = next(iter(self._files))
            if self._files[name][0] > now:
                return
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._bytes -= len(self._files.pop(name)[1])
