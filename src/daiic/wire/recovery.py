"""What is under way to one peer, what of it got lost, and when to send it again.

A message under way keeps its sequence number however often it is sent.
`_flights` is ordered by the latest transmission, oldest first. A flight is
lost when one sent after it has been acknowledged and its own acknowledgement
is later than RFC 6298's estimate allows (RFC 8985's reasoning: time, not
counts, so that reordering is no loss). When nothing at all comes back, the
retransmission timeout sends the oldest again as a probe, backing off.
"""

from collections.abc import Iterable
from itertools import islice
from math import inf

from daiic.wire.congestion import CongestionWindow
from daiic.wire.frames import Range, covered
from daiic.wire.rtt import RttEstimator

PROBES = 2
EXPIRATIONS_BEFORE_COLLAPSE = 2


class Outgoing:
    """A message to send: `size` is that of its chunks, 0 if it needs none.

    `started` counts the chunks that have been sent at least once.
    """

    __slots__ = ("count", "first", "message_type", "payload", "size", "started", "unacknowledged")

    def __init__(
        self, first: int, message_type: int, payload: bytes | memoryview, size: int
    ) -> None:
        self.first = first
        self.message_type = message_type
        self.payload = payload
        self.size = size
        self.count = -(-len(payload) // size) if size else 1
        self.started = 0
        self.unacknowledged = self.count


class Flight:
    """One message or chunk under way; `bytes` is its size on the wire.

    `resent`: it has been sent, or is to be sent, more than once; `sent_before`
    is when, the last time but one.
    """

    __slots__ = ("bytes", "index", "message", "resent", "sent_at", "sent_before", "sequence")

    def __init__(self, message: Outgoing, index: int, sequence: int) -> None:
        self.message = message
        self.index = index
        self.sequence = sequence
        self.bytes = 0
        self.sent_at = 0.0
        self.sent_before = 0.0
        self.resent = False


class Recovery:
    """Tracks flights to one peer."""

    __slots__ = (
        "_expirations",
        "_expired_at",
        "_flights",
        "_lost",
        "_max_window",
        "_mtu",
        "_newest_acked",
        "_probes",
        "bytes_in_flight",
        "rtt",
        "silent_since",
        "window",
    )

    def __init__(self, mtu: int, max_window: int) -> None:
        self._mtu = mtu
        self._max_window = max_window
        self.rtt = RttEstimator()
        self.window = CongestionWindow(mtu, max_window)
        self.bytes_in_flight = 0
        self.silent_since = 0.0
        self._flights: dict[int, Flight] = {}
        self._lost: dict[int, Flight] = {}
        self._newest_acked = 0.0
        self._expirations = 0
        self._expired_at = 0.0
        self._probes = 0

    def waiting(self) -> bool:
        """Return whether something sent has not been acknowledged."""
        return bool(self._flights or self._lost)

    def has_room(self) -> bool:
        """Return whether the window lets something go."""
        return self.bytes_in_flight < self.window.size

    def probing(self) -> bool:
        """Return whether a timeout has to be followed by something sent again."""
        return self._probes > 0

    def sent(self, flight: Flight, size: int, now: float) -> None:
        """Record that `flight` left as `size` bytes."""
        if self._probes:
            self._probes -= 1
        if not self._flights and not flight.resent:
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
        under_way = len(flights)
        done = _take_covered(flights, ranges)
        if done:
            self._account(done, under_way, now)
        if self._lost:
            for flight in _take_covered(self._lost, ranges):
                self._not_lost(flight, flight.sent_at, now)
                done.append(flight)
        return done

    def _account(self, done: list[Flight], under_way: int, now: float) -> None:
        in_use = 2 * self.bytes_in_flight > self.window.size
        fastest = self.window.base_rtt
        size = 0
        newest = 0.0
        # Karn's rule: of what was sent twice, which transmission was answered is unknown,
        # unless the answer to the second would be faster than any has been.
        newest_once, oldest_once = 0.0, now
        for flight in done:
            size += flight.bytes
            sent_at = flight.sent_at
            if flight.resent:
                if now - sent_at < fastest < inf:
                    self._not_lost(flight, flight.sent_before, now)
                    continue
            else:
                if sent_at > newest_once:
                    newest_once = sent_at
                if sent_at < oldest_once:
                    oldest_once = sent_at
            if sent_at > newest:
                newest = sent_at
        self.bytes_in_flight -= size
        if newest > self._newest_acked:
            self._newest_acked = newest
        if newest_once:
            self.rtt.sample(now - newest_once, under_way)
            if oldest_once != newest_once:
                self.rtt.sample(now - oldest_once, under_way)
            self.window.measured(now - newest_once, now)
        self.window.acknowledged(size, newest, in_use, now)

    def _not_lost(self, flight: Flight, sent_at: float, now: float) -> None:
        """Learn that `flight`, taken for lost, had arrived when sent at `sent_at`."""
        self.window.lost(-flight.bytes)
        self.rtt.sample(now - sent_at, 1)

    def find_lost(self, now: float) -> None:
        """Decide which flights have to be sent again; `take_lost` gives them."""
        flights = self._flights
        if not flights:
            return
        newest_acked = self._newest_acked
        patience = self.rtt.spread()
        lost: list[Flight] = []
        for flight in flights.values():
            if flight.sent_at >= newest_acked or flight.sent_at + patience > now:
                break
            lost.append(flight)
            self.window.lost(flight.bytes)
        if not lost:
            if now < self._timeout_at():
                return
            lost.extend(islice(flights.values(), PROBES))
            self._probes = len(lost)
            self._expirations += 1
            self._expired_at = now
            if self._expirations == EXPIRATIONS_BEFORE_COLLAPSE:
                self.window.collapse()
        self._lose(lost)

    def _lose(self, lost: Iterable[Flight]) -> None:
        for flight in lost:
            self.bytes_in_flight -= flight.bytes
            flight.sent_before = flight.sent_at
            flight.resent = True
            del self._flights[flight.sequence]
            self._lost[flight.sequence] = flight

    def begin_again(self, broken: bool, now: float) -> None:
        """Forget what was measured: the path is another one (RFC 9000, section 9.4).

        With `broken`, all that is under way goes again, now.
        """
        self.rtt = RttEstimator(RttEstimator.INITIAL_TIMEOUT_AGAIN)
        self.window = CongestionWindow(self._mtu, self._max_window)
        self._expirations = 0
        if broken and self.waiting():
            self._lose(list(self._flights.values()))
            self._probes = min(len(self._lost), PROBES)
            self.silent_since = now

    def has_lost(self) -> bool:
        """Return whether `take_lost` has something."""
        return bool(self._lost)

    def next_lost(self) -> Flight | None:
        """Return what `take_lost` gives next."""
        return next(iter(self._lost.values()), None)

    def take_lost(self) -> Flight | None:
        """Return the next flight to send again, and take it off the list."""
        lost = self._lost
        return lost.pop(next(iter(lost))) if lost else None

    def withdraw(self, message: Outgoing) -> None:
        """Forget what is under way of `message`, which the peer did not accept."""
        for flights in (self._flights, self._lost):
            for flight in [f for f in flights.values() if f.message is message]:
                del flights[flight.sequence]
                if flights is self._flights:
                    self.bytes_in_flight -= flight.bytes

    def next_timeout(self) -> float | None:
        """Return when `find_lost` may next find something, or `None`."""
        if not self._flights:
            return None
        oldest = next(iter(self._flights.values()))
        if oldest.sent_at < self._newest_acked:
            return oldest.sent_at + self.rtt.spread()
        return self._timeout_at()

    def _timeout_at(self) -> float:
        oldest = next(iter(self._flights.values()))
        since = max(oldest.sent_at, self.silent_since)
        # Of those sent together the next is no sooner due because its timeout grows no more.
        again = self._expired_at + self.rtt.timeout(0)
        return max(again, since + self.rtt.timeout(self._expirations))

    def clear(self) -> list[Flight]:
        """Give up on all flights and return them."""
        flights = [*self._flights.values(), *self._lost.values()]
        self._flights.clear()
        self._lost.clear()
        self._probes = 0
        self.bytes_in_flight = 0
        self._expirations = 0
        return flights


def _take_covered(flights: dict[int, Flight], ranges: Iterable[Range]) -> list[Flight]:
    """Take out of `flights` those whose sequences lie in `ranges`, and return them."""
    done: list[Flight] = []
    take = flights.pop
    for start, end in ranges:
        if start == end:
            flight = take(start, None)
            if flight is not None:
                done.append(flight)
        elif start < end < start + 2 * len(flights):
            for sequence in range(start, end + 1):
                flight = take(sequence, None)
                if flight is not None:
                    done.append(flight)
        else:
            done.extend(map(take, covered((start, end), flights)))
    return done
