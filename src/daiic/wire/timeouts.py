"""Which peer has to be looked at again, and when."""

import heapq
from collections.abc import Iterator

from daiic.wire.peer import Peer


class Timeouts:
    """A queue of peers by `Peer.timeout`; entries that no longer agree with it are skipped."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Peer]] = []
        self._count = 0

    def schedule(self, peer: Peer, at: float | None) -> None:
        """Have `peer` looked at no later than `at`, if it is not `None`.

        An earlier timeout stays: what is due then may be scheduled again.
        """
        if at is None or (peer.timeout is not None and peer.timeout <= at):
            return
        peer.timeout = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, peer))

    def take_due(self, now: float) -> Iterator[Peer]:
        """Yield the peers whose timeout has come; they have none afterwards."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, peer = heapq.heappop(heap)
            if peer.timeout == at:
                peer.timeout = None
                yield peer

    def next(self) -> float | None:
        """Return when `take_due` has something next, or `None`."""
        heap = self._heap
        while heap and heap[0][2].timeout != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
