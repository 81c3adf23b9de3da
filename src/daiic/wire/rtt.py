"""Round-trip time and the retransmission timeout drawn from it (RFC 6298)."""

GRANULARITY = 0.002
"""Seconds that an event loop may be late without the link being at fault."""


class RttEstimator:
    """Smoothed round-trip time in seconds; `None` until the first sample."""

    __slots__ = ("_initial_timeout", "smoothed", "variation")

    INITIAL_TIMEOUT = 1.0
    INITIAL_TIMEOUT_AGAIN = 0.2
    """Where the path has changed: a peer may not have noticed yet, and answer the old way."""
    MIN_TIMEOUT = 0.1
    MAX_TIMEOUT = 4.0

    def __init__(self, initial_timeout: float = INITIAL_TIMEOUT) -> None:
        self._initial_timeout = initial_timeout
        self.smoothed: float | None = None
        self.variation = 0.0

    def sample(self, rtt: float, under_way: int = 1) -> None:
        """Record one measured round trip (RFC 6298, section 2).

        `under_way`: how many messages were, so that many samples a round trip
        weigh together what one would (RFC 7323, appendix G).
        """
        if self.smoothed is None:
            self.smoothed = rtt
            self.variation = rtt / 2
            return
        samples = max(under_way / 2, 1.0)
        self.variation += (abs(self.smoothed - rtt) - self.variation) / (4 * samples)
        self.smoothed += (rtt - self.smoothed) / (8 * samples)

    def spread(self) -> float:
        """Return the time by which nearly every acknowledgement has come.

        RFC 6298's SRTT + max(G, 4 RTTVAR), before its lower bound.
        """
        if self.smoothed is None:
            return self._initial_timeout
        return self.smoothed + max(GRANULARITY, 4 * self.variation)

    def timeout(self, expirations: int) -> float:
        """Return the retransmission timeout, doubled for each of `expirations` in a row."""
        base = max(self.spread(), self.MIN_TIMEOUT)
        return min(base * float(2 ** min(expirations, 16)), self.MAX_TIMEOUT)
