"""How much may be under way: a congestion window and the pace within it.

The window follows delay and heavy loss, not single losses: on wireless links
a few per cent are lost with no queue anywhere, and halving for each would
leave most of the link idle. Once a round trip it grows while the queue that
it builds (the round's least RTT over the least ever seen, RFC 6817's measure)
is short, and shrinks when that queue is long or when more than a tenth of the
round was lost.
"""

from math import inf

from daiic.wire.rtt import RttEstimator

HEAVY_LOSS = 0.1
QUEUE_TARGET = 0.015
BASE_RTT_LIFETIME = 30.0


class CongestionWindow:
    """A window in bytes; `pace` is in bytes a second; `base_rtt` is the least RTT of late."""

    __slots__ = (
        "_acked",
        "_base_since",
        "_largest",
        "_lost",
        "_mtu",
        "_round_rtt",
        "_round_started",
        "_smallest",
        "base_rtt",
        "growing",
        "size",
    )

    def __init__(self, mtu: int, largest: int) -> None:
        self._mtu = mtu
        self._smallest = 8 * mtu
        self._largest = max(largest, self._smallest)
        self.size = 16 * mtu
        self.growing = True  # slow start
        self._round_started = 0.0
        self._round_rtt = inf
        self.base_rtt = inf
        self._base_since = 0.0
        self._acked = 0
        self._lost = 0

    def acknowledged(self, size: int, sent_at: float, in_use: bool, now: float) -> None:
        """Count `size` bytes, the newest of them sent at `sent_at`, as arrived.

        `in_use`: the window was what held the sender back, so it may grow.
        """
        self._acked += size
        if self.growing and in_use:
            self.size = min(self.size + size, self._largest)
        if sent_at >= self._round_started:
            self._end_round(in_use, now)

    def lost(self, size: int) -> None:
        """Count `size` bytes as lost; less than 0 if they had been taken for lost by mistake."""
        self._lost += size

    def collapse(self) -> None:
        """Fall back to the smallest window: the peer has gone silent."""
        self.size = self._smallest
        self.growing = True

    def measured(self, rtt: float, now: float) -> None:
        """Record one round-trip time in seconds."""
        self._round_rtt = min(self._round_rtt, rtt)
        if rtt <= self.base_rtt or now - self._base_since > BASE_RTT_LIFETIME:
            self.base_rtt = rtt
            self._base_since = now

    def pace(self, rtt: RttEstimator) -> float:
        """Return the sending rate that spreads the window over a round trip."""
        if rtt.smoothed is None:
            return inf
        return (2.0 if self.growing else 1.25) * self.size / max(rtt.smoothed, 1e-4)

    def _end_round(self, in_use: bool, now: float) -> None:
        total = self._acked + self._lost
        queue = self._round_rtt - self.base_rtt
        if self._lost > 4 * self._mtu and self._lost > HEAVY_LOSS * total:
            self._shrink(0.7)
        elif self._round_rtt != inf and queue > QUEUE_TARGET:
            self._shrink(0.85)
        elif in_use and not self.growing:
            step = max(10 * self._mtu, self.size // 20)
            self.size = min(self.size + step, self._largest)
        self._round_started = now
        self._round_rtt = inf
        self._acked = 0
        self._lost = 0

    def _shrink(self, factor: float) -> None:
        self.growing = False
        self.size = max(int(self.size * factor), self._smallest)


class Pacer:
    """Lets bytes go at a rate, in bursts no longer than the event loop's reach."""

    __slots__ = ("_allowance", "_at")

    BURST_SECONDS = 0.002
    SMALLEST_BURST = 16 * 1024
    LARGEST_BURST = 256 * 1024

    def __init__(self) -> None:
        self._allowance = float(self.SMALLEST_BURST)
        self._at = 0.0

    def allowance(self, rate: float, now: float) -> float:
        """Return how many bytes may go at `now`, given `rate` bytes a second."""
        if rate == inf:  # no time need pass, and none may: it is not known how long to wait
            self._allowance, self._at = float(self.LARGEST_BURST), now
        elif now > self._at:
            self._allowance = min(self._allowance + rate * (now - self._at), self._burst(rate))
            self._at = now
        return self._allowance

    def left(self, allowance: float) -> None:
        """Set what is left of the allowance after sending; it may be below zero."""
        self._allowance = allowance

    def ready_at(self, rate: float) -> float:
        """Return when an exhausted allowance is back to half a burst."""
        return self._at + max(self._burst(rate) / 2 - self._allowance, 0.0) / rate

    def _burst(self, rate: float) -> float:
        return min(max(rate * self.BURST_SECONDS, self.SMALLEST_BURST), self.LARGEST_BURST)
