"""The latest readings of the worker's card, taken beside the event loop.

A driver may take long, or hang for ever: then one thread waits for it, and what
was read before is told no more once it is old.
"""

import asyncio
import time
from collections.abc import Callable

from daiic.background import in_thread
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.cards import amd, nvidia

INTERVAL = 5.0
"""Seconds between readings."""
OLD = 30.0
"""Seconds after which a reading is no longer told."""

Read = Callable[[str], pb.Card | None]


class Telemetry:
    """Follows the card of `backend`; on a CPU there is nothing to read."""

    def __init__(
        self,
        backend: Backend,
        read: Read | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` returns what a driver knows of the card at a PCI address, and may block."""
        self._backend = backend
        self._read = read or (nvidia.read if backend.kind == pb.CUDA else amd.read)
        self._clock = clock
        self._latest: tuple[float, pb.Card] | None = None

    async def follow(self) -> None:
        """Read every `INTERVAL` until cancelled; one reading at a time."""
        address = self._backend.pci_address
        while address:
            card = await in_thread(lambda: self._read(address))
            self._latest = (self._clock(), card) if card is not None else None
            await asyncio.sleep(INTERVAL)

    def cards(self) -> list[pb.Card]:
        """Return the cards that the worker computes on, as they were read last."""
        if not self._backend.is_gpu:
            return []
        card = pb.Card()
        if self._latest is not None and self._clock() - self._latest[0] <= OLD:
            card.CopyFrom(self._latest[1])
        card.name = self._backend.name
        return [card]
