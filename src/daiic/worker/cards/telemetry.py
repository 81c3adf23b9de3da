"""The latest readings of the worker's cards, taken beside the event loop.

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
    """Follows the cards of `backend`; on a CPU there is nothing to read."""

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
        self._latest: dict[str, tuple[float, pb.Card]] = {}

    async def follow(self) -> None:
        """Read every `INTERVAL` until cancelled; one reading at a time."""
        addresses = [card.pci_address for card in self._backend.cards if card.pci_address]
        while addresses:
            for address in addresses:
                await self._follow(address)
            await asyncio.sleep(INTERVAL)

    async def _follow(self, address: str) -> None:
        card = await in_thread(lambda: self._read(address))
        if card is None:
            self._latest.pop(address, None)
        else:
            self._latest[address] = (self._clock(), card)

    def cards(self) -> list[pb.Card]:
        """Return the cards that the worker computes on, as they were read last."""
        told = []
        for known in self._backend.cards:
            card = pb.Card()
            read_at, latest = self._latest.get(known.pci_address, (0.0, card))
            if self._clock() - read_at <= OLD:
                card.CopyFrom(latest)
            card.name = known.name
            told.append(card)
        return told
