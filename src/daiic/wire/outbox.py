"""The sending side towards one peer: what waits, what goes now, what is done.

Whole messages go before pieces of large ones, so that a token is not held up
by a picture; large messages take turns.
"""

import random
from collections import deque
from collections.abc import Iterator

from daiic.wire.congestion import Pacer
from daiic.wire.counters import Counters
from daiic.wire.frames import CHUNK_OVERHEAD, Range, encode_chunk
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType
from daiic.wire.recovery import Flight, Outgoing, Recovery
from daiic.wire.sequence import following

SEQUENCE_SPAN = 4096
"""Small messages sent since the oldest unacknowledged one; `RecentSequences` remembers as many."""

TURN = 128
"""Frames that one peer may send before others get their turn."""


class Outbox:
    """Queues and sends reliable messages; all sizes in bytes, times in seconds."""

    __slots__ = (
        "_again",
        "_counters",
        "_large",
        "_limits",
        "_memory",
        "_next_sequence",
        "_pacer",
        "_room",
        "_small",
        "_small_sent",
        "_unacknowledged",
        "buffered",
        "recovery",
    )

    def __init__(
        self, limits: Limits, overhead: int, memory: MemoryUse, counters: Counters
    ) -> None:
        """`overhead` is what sealing adds to a datagram."""
        self._limits = limits
        self._memory = memory
        self._counters = counters
        self._room = limits.path_mtu - overhead
        self._next_sequence = random.getrandbits(32)
        self._small: deque[Flight] = deque()
        self._large: deque[Iterator[Flight]] = deque()
        self._again: deque[Flight] = deque()
        self._small_sent = 0
        self._unacknowledged: dict[int, int] = {}  # sequence -> how many had been sent before
        self._pacer = Pacer()
        self.recovery = Recovery(limits.path_mtu, limits.max_window)
        self.buffered = 0

    def reserve(self) -> int:
        """Return the next sequence number, for a message sent outside the queues."""
        return self._take_sequences(1)

    def fits(self, payload: bytes) -> bool:
        """Return whether `payload` goes in a single datagram."""
        return HEADER_SIZE + len(payload) <= self._room

    def queue(self, message_type: int, payload: bytes) -> int:
        """Queue a message of any size and return its sequence number."""
        if self.fits(payload):
            first = self._take_sequences(1)
            message = Outgoing(first, message_type, payload, 0)
            self._small.append(Flight(message, 0, first))
        else:
            size = self._room - CHUNK_OVERHEAD
            first = self._take_sequences(-(-len(payload) // size))
            message = Outgoing(first, message_type, payload, size)
            self._large.append(_chunks(message))
        self.buffered += len(payload)
        self._memory.used += len(payload)
        return first

    def idle(self) -> bool:
        """Return whether nothing waits and nothing is under way."""
        return not (self._small or self._large or self._again or len(self.recovery))

    def frames_to_send(self, now: float, timestamp: int) -> Iterator[bytes]:
        """Yield the messages that window and pace let go at `now`, encoded."""
        recovery = self.recovery
        self._again.extend(recovery.take_lost(now))
        rate = recovery.window.pace(recovery.rtt)
        allowance = self._pacer.allowance(rate, now)
        for _ in range(TURN):
            if allowance <= 0 or not recovery.has_room():
                return
            flight = self._next_flight()
            if flight is None:
                return
            message = flight.message
            self._counters.retransmissions += flight.resent
            if message.size:
                self._counters.frames_sent[MessageType.CHUNK] += 1
                frame = encode_chunk(
                    message.first,
                    flight.index,
                    message.message_type,
                    message.payload,  # type: ignore[arg-type]
                    message.size,
                    timestamp,
                )
            else:
                self._counters.frames_sent[message.message_type] += 1
                payload = message.payload
                frame = (
                    HEADER.pack(message.message_type, flight.sequence, timestamp, len(payload))
                    + payload
                )
            size = len(frame)
            self._pacer.spend(size)
            allowance -= size
            recovery.sent(flight, size, now)
            yield frame

    def acknowledged(self, ranges: list[Range], now: float) -> None:
        """Take in the peer's acknowledgement of `ranges`."""
        self.recovery.heard(now)
        for flight in self.recovery.acknowledged(ranges, now):
            message = flight.message
            message.unacknowledged -= 1
            if not message.unacknowledged:
                self.buffered -= len(message.payload)
                self._memory.used -= len(message.payload)
            if not message.size:
                self._unacknowledged.pop(flight.sequence, None)

    def next_timeout(self) -> float | None:
        """Return when to call `frames_to_send` again, or `None`."""
        recovery = self.recovery
        timeout = recovery.next_timeout()
        if timeout is not None:
            timeout = min(timeout, recovery.silent_since + self._limits.give_up)
        if recovery.has_room() and (self._again or self._large or self._small_may_go()):
            ready = self._pacer.ready_at(recovery.window.pace(recovery.rtt))
            timeout = ready if timeout is None else min(timeout, ready)
        return timeout

    def silent_too_long(self, now: float) -> bool:
        """Return whether the peer has acknowledged nothing for `Limits.give_up`."""
        recovery = self.recovery
        return len(recovery) > 0 and now >= recovery.silent_since + self._limits.give_up

    def clear(self) -> tuple[int, ...]:
        """Drop every message and return the sequences of those not acknowledged."""
        flights = [*self.recovery.clear(), *self._again, *self._small]
        for chunks in self._large:
            flights.extend(chunks)
        self._again.clear()
        self._small.clear()
        self._large.clear()
        self._unacknowledged.clear()
        self._memory.used -= self.buffered
        self.buffered = 0
        return tuple({flight.message.first for flight in flights})

    def _next_flight(self) -> Flight | None:
        if self._again:
            return self._again.popleft()
        if self._small_may_go():
            flight = self._small.popleft()
            self._unacknowledged[flight.sequence] = self._small_sent
            self._small_sent += 1
            return flight
        while self._large:
            chunks = self._large[0]
            flight = next(chunks, None)
            if flight is not None:
                self._large.rotate(-1)
                return flight
            self._large.popleft()
        return None

    def _small_may_go(self) -> bool:
        oldest = next(iter(self._unacknowledged.values()), self._small_sent)
        return bool(self._small) and self._small_sent - oldest < SEQUENCE_SPAN

    def _take_sequences(self, count: int) -> int:
        first = self._next_sequence
        self._next_sequence = following(first, count)
        return first


def _chunks(message: Outgoing) -> Iterator[Flight]:
    for index in range(message.count):
        yield Flight(message, index, following(message.first, index))
