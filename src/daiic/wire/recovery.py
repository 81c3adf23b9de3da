"""What is under way to one peer, what of it got lost, and when to send it again.

A message under way keeps its sequence number however often it is sent.
`_flights` is ordered by the latest transmission, oldest first. A flight is
lost when one sent after it has been acknowledged and its own acknowledgement
is later than RFC 6298's estimate allows (RFC 8985's reasoning: time, not
counts, so that reordering is no loss). When nothing at all comes back, the
retransmission timeout sends the oldest again as a probe, backing off.
"""

from collections.abc import Iterable

from daiic.wire.congestion import CongestionWindow
from daiic.wire.frames import Range, covered
from daiic.wire.rtt import RttEstimator
from daiic.wire.sequence import distance

PROBES = 2
EXPIRATIONS_BEFORE_COLLAPSE = 2


class Outgoing:
    """A message to send: `size` is that of its chunks, 0 if it needs none."""

    __slots__ = ("count", "first", "message_type", "payload", "size", "unacknowledged")

    def __init__(self, first: int, message_type: int, payload: bytes, size: int) -> None:
        self.first = first
        self.message_type = message_type
        self.payload = memoryview(payload) if size else payload
        self.size = size
        self.count = -(-len(payload) // size) if size else 1
        self.unacknowledged = self.count


class Flight:
    """One message or chunk under way; `bytes` is its size on the wire."""

    __slots__ = ("bytes", "index", "message", "resent", "sent_at", "sequence")

    def __init__(self, message: Outgoing, index: int, sequence: int) -> None:
        self.message = message
        self.index = index
        self.sequence = sequence
        self.bytes = 0
        self.sent_at = 0.0
        self.resent = False


class Recovery:
    """Tracks flights to one peer."""

    __slots__ = (
        "_expirations",
        "_flights",
        "_newest_acked",
        "_probes",
        "bytes_in_flight",
        "rtt",
        "silent_since",
        "window",
    )

    def __init__(self, mtu: int, max_window: int) -> None:
        self.rtt = RttEstimator()
        self.window = CongestionWindow(mtu, max_window)
        self.bytes_in_flight = 0
        self.silent_since = 0.0
        self._flights: dict[int, Flight] = {}
        self._newest_acked = 0.0
        self._expirations = 0
        self._probes = 0

    def __len__(self) -> int:
        return len(self._flights)

    def oldest_sequence(self) -> int | None:
        """Return the sequence of the flight that waits longest for its acknowledgement."""
        return next(iter(self._flights), None)

    def has_room(self) -> bool:
        """Return whether the window, or the need to probe, lets something go."""
        return self.bytes_in_flight < self.window.size or self._probes > 0

    def sent(self, flight: Flight, size: int, now: float) -> None:
        """Record that `flight` left as `size` bytes."""
        if self._probes:
            self._probes -= 1
        if not self._flights:
            self.silent_since = now
        flight.bytes = size
        flight.sent_at = now
        self.bytes_in_flight += size
        self._flights[flight.sequence] = flight

    def heard(self, now: float) -> None:
        """Record a sign of life."""
        self.silent_since = now
        self._expirations = 0

    def acknowledged(self, ranges: Iterable[Range], now: float) -> list[Flight]:
        """Take the flights that `ranges` cover off the list and return them."""
        flights = self._flights
        done: list[Flight] = []
        for start, end in ranges:
            span = distance(start, end)
            if span == 0:
                flight = flights.pop(start, None)
                if flight is not None:
                    done.append(flight)
            elif span < 2 * len(flights) and start <= end:
                done.extend(
                    f for s in range(start, end + 1) if (f := flights.pop(s, None)) is not None
                )
            else:
                done.extend(flights.pop(s) for s in covered([(start, end)], list(flights)))
        if done:
            self._account(done, now)
        return done

    def _account(self, done: list[Flight], now: float) -> None:
        in_use = 2 * self.bytes_in_flight > self.window.size
        newest = done[0]
        size = 0
        for flight in done:
            size += flight.bytes
            if flight.sent_at > newest.sent_at:
                newest = flight
        self.bytes_in_flight -= size
        self._newest_acked = max(self._newest_acked, newest.sent_at)
        if not newest.resent:  # Karn's rule: which transmission was answered is unknown
            self.rtt.sample(now - newest.sent_at)
            self.window.measured(now - newest.sent_at, now)
        self.window.acknowledged(size, newest.sent_at, in_use, now)

    def take_lost(self, now: float) -> list[Flight]:
        """Take off the list and return what has to be sent again at `now`."""
        lost: list[Flight] = []
        patience = self.rtt.spread()
        for flight in self._flights.values():
            if flight.sent_at >= self._newest_acked or flight.sent_at + patience > now:
                break
            lost.append(flight)
        for flight in lost:
            self.window.lost(flight.bytes)
        if not lost and self._flights and now >= self._timeout_at():
            lost = [flight for flight, _ in zip(self._flights.values(), range(PROBES), strict=False)]
            self._probes = len(lost)
            self._expirations += 1
            if self._expirations == EXPIRATIONS_BEFORE_COLLAPSE:
                self.window.collapse()
        for flight in lost:
            del self._flights[flight.sequence]
            self.bytes_in_flight -= flight.bytes
            flight.resent = True
        return lost

    def next_timeout(self) -> float | None:
        """Return when `take_lost` may next have something, or `None`."""
        if not self._flights:
            return None
        oldest = next(iter(self._flights.values()))
        if oldest.sent_at < self._newest_acked:
            return oldest.sent_at + self.rtt.spread()
        return self._timeout_at()

    def _timeout_at(self) -> float:
        oldest = next(iter(self._flights.values()))
        return max(oldest.sent_at, self.silent_since) + self.rtt.timeout(self._expirations)

    def clear(self) -> list[Flight]:
        """Give up on all flights and return them."""
        flights = list(self._flights.values())
        self._flights.clear()
        self._probes = 0
        self.bytes_in_flight = 0
        self._expirations = 0
        return flights
