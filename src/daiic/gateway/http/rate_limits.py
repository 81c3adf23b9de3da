"""How much one client may ask for: so many requests each minute, and so many at once."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from daiic.gateway.http.errors import ApiError
from daiic.gateway.limits import KNOWN_CLIENTS


class _Use:
    __slots__ = ("at", "running", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.running = 0


class RateLimits:
    """Counts what each client uses; 0 is no limit."""

    def __init__(
        self, per_minute: int, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._at_once = at_once
        self._clock = clock
        self._uses: OrderedDict[str, _Use] = OrderedDict()

    def change(self, per_minute: int, at_once: int) -> None:
        """Apply other limits from now on."""
        self._per_minute = per_minute
        self._at_once = at_once

    def acquire(self, client: str) -> None:
        """Count one more request of `client`; `release` must follow.

        This is a token bucket: a minute's requests may come at once, and it refills evenly.

        Raises:
            ApiError: 429, with the seconds after which to try again.
        """
        if not (self._per_minute or self._at_once):
            return
        now = self._clock()
        use = self._uses.get(client)
        if use is None:
            use = self._uses[client] = _Use(float(self._per_minute), now)
            self._forget()
        self._uses.move_to_end(client)
        if self._at_once and use.running >= self._at_once:
            raise _exceeded(
                f"this key already has {use.running} requests running, which is its limit", 1
            )
        if self._per_minute:
            rate = self._per_minute / 60
            use.tokens = min(self._per_minute, use.tokens + (now - use.at) * rate)
            use.at = now
            if use.tokens < 1:
                raise _exceeded(
                    f"this key may make {self._per_minute} requests a minute",
                    math.ceil((1 - use.tokens) / rate),
                )
            use.tokens -= 1
        use.running += 1

    def release(self, client: str) -> None:
        """End a request that `acquire` allowed."""
        use = self._uses.get(client)
        if use is not None:
            use.running -= 1

    def _forget(self) -> None:
        if len(self._uses) > KNOWN_CLIENTS:
            idle = next((name for name, use in self._uses.items() if not use.running), None)
            if idle is not None:
                del self._uses[idle]


def _exceeded(what: str, retry_after: int) -> ApiError:
    return ApiError(
        429,
        f"{what}: try again in {retry_after} s, or ask the operator for a higher limit",
        type="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=retry_after,
    )
