"""Responses that clients may continue or fetch, kept in memory for a limited time and size."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from daiic.gateway.limits import (
    CLIENT_RESPONSES_BYTES,
    RESPONSE_PATIENCE,
    RESPONSES,
    RESPONSES_BYTES,
)
from daiic.gateway.openai.schema.response_items import InputItem

OVERHEAD = 512
"""Bytes that a kept response takes beside its texts."""
_ITEMS = msgspec.json.Decoder(list[InputItem])


@dataclass(slots=True)
class KeptResponse:
    """A response and the input that it answers, both as JSON; `previous` is what it continues."""

    client: str
    input_items: bytes
    response: bytes
    previous: str | None
    used: float = 0.0

    @property
    def items(self) -> list[InputItem]:
        """The input, read."""
        return _ITEMS.decode(self.input_items)

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self.input_items) + len(self.response) + OVERHEAD


class ResponseStore:
    """Responses by id; a client finds its own only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The one unused for longest is first, in both.
        self._kept: OrderedDict[str, KeptResponse] = OrderedDict()
        self._of_client: dict[str, OrderedDict[str, None]] = {}
        self._client_bytes: dict[str, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, response_id: str, kept: KeptResponse) -> None:
        """Keep a response; what has been unused for longest makes room for it."""
        kept.used = self._clock()
        self._kept[response_id] = kept
        self._of_client.setdefault(kept.client, OrderedDict())[response_id] = None
        self._client_bytes[kept.client] = self._client_bytes.get(kept.client, 0) + kept.size
        self._bytes += kept.size
        self._expire()
        while (own := self._of_client.get(kept.client)) and (
            len(own) > RESPONSES or self._client_bytes[kept.client] > CLIENT_RESPONSES_BYTES
        ):
            self._drop(next(iter(own)))
        while self._bytes > RESPONSES_BYTES:
            self._drop(next(iter(self._kept)))

    def get(self, response_id: str, client: str) -> KeptResponse | None:
        """Return the response, and keep it for longer; `None` if `client` has none of that id."""
        self._expire()
        kept = self._kept.get(response_id)
        if kept is None or kept.client != client:
            return None
        kept.used = self._clock()
        self._kept.move_to_end(response_id)
        self._of_client[client].move_to_end(response_id)
        return kept

    def delete(self, response_id: str, client: str) -> bool:
        """Drop the response; return whether `client` had one of that id."""
        found = self.get(response_id, client) is not None
        if found:
            self._drop(response_id)
        return found

    def _expire(self) -> None:
        longest = self._clock() - RESPONSE_PATIENCE
        while self._kept:
            response_id, kept = next(iter(self._kept.items()))
            if kept.used > longest:
                return
            self._drop(response_id)

    def _drop(self, response_id: str) -> None:
        kept = self._kept.pop(response_id)
        self._bytes -= kept.size
        own = self._of_client[kept.client]
        del own[response_id]
        if own:
            self._client_bytes[kept.client] -= kept.size
        else:
            del self._of_client[kept.client], self._client_bytes[kept.client]
