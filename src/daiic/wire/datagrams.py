"""Between the socket's datagrams and the protocol's messages: header, seal, BATCH.

What is wrong with a datagram is counted here; what is left is a message whose
length adds up and, if there is a cluster key, whose sender has it.
"""

from collections.abc import Callable

from daiic.wire.counters import Counters
from daiic.wire.frames import Frame, pack, split_batch
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType
from daiic.wire.sealing import OVERHEAD, Sealer

Opened = tuple[int, int, int, Frame]
"""Message type, sequence, timestamp, payload."""


class Datagrams:
    """Opens what was received and closes what is to be sent; `overhead` is what sealing adds."""

    def __init__(
        self,
        limits: Limits,
        wall_clock: Callable[[], int],
        key: ClusterKey | None,
        counters: Counters,
    ) -> None:
        self.overhead = OVERHEAD if key else 0
        self._wall_clock = wall_clock
        self._counters = counters
        self._sealer = Sealer(key, limits, counters) if key else None

    def open(self, datagram: Frame) -> Opened | None:
        """Return the message in `datagram`, which may be a BATCH; `None` if it must be dropped."""
        counters = self._counters
        counters.datagrams_received += 1
        counters.bytes_received += len(datagram)
        if len(datagram) < HEADER_SIZE:
            counters.dropped_malformed += 1
            return None
        message_type, sequence, timestamp, length = HEADER.unpack_from(datagram)
        if len(datagram) != HEADER_SIZE + length:
            counters.dropped_malformed += 1
            return None
        if self._sealer is None:
            return message_type, sequence, timestamp, datagram[HEADER_SIZE:]
        payload = self._sealer.open(datagram, timestamp, self._wall_clock())
        if payload is None:
            return None
        return message_type, sequence, timestamp, payload

    def split(self, batch: Frame) -> list[Opened] | None:
        """Return the messages in the payload of a BATCH, `None` if it must be dropped."""
        messages = split_batch(batch)
        if messages is None:
            self._counters.dropped_malformed += 1
            return None
        self._counters.frames_received[MessageType.BATCH] += 1
        return messages

    def join(self, messages: list[bytes], capacity: int, timestamp: int) -> list[bytes]:
        """Put several messages together into as few datagrams of `capacity` bytes as they need."""
        datagrams = pack(messages, capacity, timestamp)
        batches = sum(datagram[0] == MessageType.BATCH for datagram in datagrams)
        self._counters.frames_sent[MessageType.BATCH] += batches
        return datagrams

    def close(self, datagram: bytes) -> bytes:
        """Return `datagram` as it goes to the socket: sealed if there is a key, and counted."""
        if self._sealer is not None:
            datagram = self._sealer.seal(datagram)
        self._counters.datagrams_sent += 1
        self._counters.bytes_sent += len(datagram)
        return datagram
