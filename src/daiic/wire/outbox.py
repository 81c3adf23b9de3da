"""The sending side towards one peer: what waits, what goes now, what is done.

Whole messages go before pieces of large ones, so that a token is not held up
by a picture; large messages take turns.
"""

import random
from collections import deque

from daiic.wire.congestion import Pacer
from daiic.wire.counters import Counters
from daiic.wire.events import Delivered, Event
from daiic.wire.frames import CHUNK_OVERHEAD, Range, encode_chunk
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import HEADER, HEADER_SIZE, Address, MessageType
from daiic.wire.recovery import Flight, Outgoing, Recovery
from daiic.wire.sequence import REMEMBERED, distance, following

MESSAGE_SPAN = REMEMBERED // 2
"""How many messages the peer may have whole since the oldest unacknowledged one.

Those sent before it may arrive after it, so it is as many again until the
peer forgets that one.
"""

BUSY_PAUSE = 0.25
"""Seconds until a message is tried again for which the peer had no memory."""

TURN = 128
"""Frames that one peer may send before others get their turn."""


class Outbox:
    """Queues and sends reliable messages; all sizes in bytes, times in seconds."""

    __slots__ = (
        "_counters",
        "_give_up",
        "_incomplete",
        "_large",
        "_memory",
        "_next_sequence",
        "_origin",
        "_pacer",
        "_paused",
        "_peer",
        "_sent_whole",
        "_small",
        "_unacknowledged",
        "buffered",
        "capacity",
        "held",
        "recovery",
    )

    def __init__(
        self, peer: Address, limits: Limits, overhead: int, memory: MemoryUse, counters: Counters
    ) -> None:
        """`overhead` is what sealing adds to a datagram.

        `capacity` is what a datagram has for messages, in bytes. `held` says that the last
        call of `frames_to_send` kept something back because of its `credit`.
        """
        self._peer = peer
        self._memory = memory
        self._counters = counters
        self._give_up = limits.give_up
        self.capacity = limits.path_mtu - overhead
        self._next_sequence = self._origin = random.getrandbits(32)
        self._small: deque[Outgoing] = deque()
        self._large: deque[Outgoing] = deque()
        self._incomplete: dict[int, Outgoing] = {}  # large messages not yet acknowledged
        self._paused: deque[tuple[float, Outgoing]] = deque()
        self._sent_whole = 0
        self._unacknowledged: dict[int, int] = {}  # sequence -> `_sent_whole` before it
        self._pacer = Pacer()
        self.recovery = Recovery(limits.path_mtu, limits.max_window)
        self.buffered = 0
        self.held = False

    def reserve(self, count: int = 1) -> int:
        """Take `count` sequence numbers and return the first of them."""
        first = self._next_sequence
        self._next_sequence = following(first, count)
        return first

    def fits(self, payload: bytes) -> bool:
        """Return whether `payload` goes in a single datagram."""
        return HEADER_SIZE + len(payload) <= self.capacity

    def queue(self, message_type: int, payload: bytes) -> int:
        """Queue a message of any size and return its sequence number."""
        length = len(payload)
        if HEADER_SIZE + length <= self.capacity:
            first = self.reserve()
            self._small.append(Outgoing(first, message_type, payload, 0))
        else:
            size = self.capacity - CHUNK_OVERHEAD
            first = self.reserve(-(-length // size))
            message = Outgoing(first, message_type, memoryview(payload), size)
            self._incomplete[first] = message
            self._large.append(message)
        self.buffered += length
        self._memory.used += length
        return first

    def set_path(self, capacity: int, broken: bool, now: float) -> None:
        """Send another way from now on, where a datagram has `capacity` bytes for messages.

        With `broken`, what went the other way is lost. What has been cut stays so.
        """
        self.capacity = capacity
        self._pacer = Pacer()
        self.recovery.begin_again(broken, now)

    def has_new(self) -> bool:
        """Return whether a message waits to be sent for the first time."""
        return bool(self._small or self._large)

    def idle(self) -> bool:
        """Return whether nothing waits and nothing is under way."""
        return not (self._small or self._large or self._paused or self.recovery.waiting())

    def frames_to_send(self, now: float, timestamp: int, credit: int | None = None) -> list[bytes]:
        """Return the messages that window, pace and `credit` (bytes) let go at `now`, encoded."""
        frames: list[bytes] = []
        recovery = self.recovery
        recovery.find_lost(now)
        while self._paused and self._paused[0][0] <= now:
            self._large.append(self._paused.popleft()[1])
        self.held = False
        allowance = self._pacer.allowance(recovery.window.pace(recovery.rtt), now)
        # Probes are few, and go whatever window and pace say: else the timeout stays due.
        while len(frames) < TURN and (
            recovery.probing() or (allowance > 0 and recovery.has_room())
        ):
            if credit is not None:
                size = self._next_size()
                if size > max(credit, 0):
                    self.held = True
                    break
                credit -= size
            flight = recovery.take_lost() or self._next_flight()
            if flight is None:
                break
            frame = self._encode(flight, timestamp)
            frames.append(frame)
            allowance -= len(frame)
            recovery.sent(flight, len(frame), now)
        self._pacer.left(allowance)
        return frames

    def _encode(self, flight: Flight, timestamp: int) -> bytes:
        counters = self._counters
        message = flight.message
        payload = message.payload
        if flight.resent:
            counters.retransmissions += 1
        if message.size:
            counters.frames_sent[MessageType.CHUNK] += 1
            return encode_chunk(
                message.first,
                flight.index,
                message.message_type,
                payload,
                message.size,
                timestamp,
            )
        counters.frames_sent[message.message_type] += 1
        return HEADER.pack(message.message_type, flight.sequence, timestamp, len(payload)) + payload

    def acknowledged(self, ranges: list[Range], now: float, events: list[Event]) -> bool:
        """Handle the peer's acknowledgement of `ranges`; return whether it tells anything new.

        A `Delivered` is added to `events` for each message that is now whole there.
        """
        self.recovery.heard(now)
        done = self.recovery.acknowledged(ranges, now)
        for flight in done:
            message = flight.message
            message.unacknowledged -= 1
            if not message.unacknowledged:
                first = message.first
                self.buffered -= len(message.payload)
                self._memory.free(len(message.payload))
                del self._unacknowledged[first]
                if message.size:
                    del self._incomplete[first]
                rtt = None if flight.resent else now - flight.sent_at
                events.append(Delivered(self._peer, first, rtt))
        return bool(done)

    def busy(self, first: int, now: float) -> None:
        """Start the large message `first` again later: the peer has no memory for it now."""
        self.recovery.heard(now)
        message = self._incomplete.get(first)
        if message is None or not message.started or message.unacknowledged < message.count:
            return
        self.recovery.withdraw(message)
        if message.started < message.count:
            self._large.remove(message)
        self._unacknowledged.pop(first, None)
        message.started = 0
        self._paused.append((now + BUSY_PAUSE, message))

    def next_timeout(self) -> float | None:
        """Return when to call `frames_to_send` again, or `None`."""
        recovery = self.recovery
        timeout = recovery.next_timeout()
        if timeout is not None:
            timeout = min(timeout, recovery.silent_since + self._give_up)
        if self._paused and (timeout is None or self._paused[0][0] < timeout):
            timeout = self._paused[0][0]
        if (
            not self.held
            and recovery.has_room()
            and (recovery.has_lost() or ((self._small or self._large) and self._new_may_go()))
        ):
            ready = self._pacer.ready_at(recovery.window.pace(recovery.rtt))
            timeout = ready if timeout is None else min(timeout, ready)
        return timeout

    def silent_too_long(self, now: float) -> bool:
        """Return whether the peer has acknowledged nothing for `Limits.give_up`."""
        recovery = self.recovery
        return recovery.waiting() and now >= recovery.silent_since + self._give_up

    def clear(self) -> tuple[int, ...]:
        """Drop every message and return the sequences of those not acknowledged."""
        dropped = dict.fromkeys(flight.message.first for flight in self.recovery.clear())
        dropped.update(dict.fromkeys(message.first for message in self._small))
        dropped.update(dict.fromkeys(self._incomplete))
        self._small.clear()
        self._large.clear()
        self._paused.clear()
        self._incomplete.clear()
        self._unacknowledged.clear()
        self._memory.free(self.buffered)
        self.buffered = 0
        self.held = False
        return tuple(dropped)

    def covers(self, ranges: list[Range]) -> bool:
        """Return whether `ranges` name only what was sent: who guesses names more."""
        sent = distance(self._origin, self._next_sequence)
        return all(
            distance(self._origin, start) <= distance(self._origin, end) < sent
            for start, end in ranges
        )

    def _next_size(self) -> int:
        """Return the size of what goes next, 0 if nothing does."""
        lost = self.recovery.next_lost()
        if lost is not None:
            return lost.bytes
        if not self._new_may_go():
            return 0
        if self._small:
            return HEADER_SIZE + len(self._small[0].payload)
        if self._large:
            message = self._large[0]
            rest = len(message.payload) - message.started * message.size
            return CHUNK_OVERHEAD + min(message.size, rest)
        return 0

    def _next_flight(self) -> Flight | None:
        if not self._new_may_go():
            return None
        if self._small:
            message = self._small.popleft()
            self._may_be_whole(message.first)
            return Flight(message, 0, message.first)
        if self._large:
            message = self._large[0]
            index = message.started
            message.started += 1
            if message.started < message.count:
                self._large.rotate(-1)
            else:
                self._large.popleft()
                self._may_be_whole(message.first)
            return Flight(message, index, following(message.first, index))
        return None

    def _may_be_whole(self, first: int) -> None:
        """Note that all of a message has been sent, so that the peer has to remember it."""
        self._unacknowledged[first] = self._sent_whole
        self._sent_whole += 1

    def _new_may_go(self) -> bool:
        unacknowledged = self._unacknowledged
        if len(unacknowledged) == 0:
            return True
        return self._sent_whole - next(iter(unacknowledged.values())) < MESSAGE_SPAN
