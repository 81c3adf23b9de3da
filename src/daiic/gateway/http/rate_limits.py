"""How much one client may use each minute and each day, and how much at once.

What a request costs in tokens is known when it is answered, and of a stream
bit by bit. So a request is let in while anything is left, and what it takes
beyond that is paid back in time: the next one waits longer.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import msgspec

from daiic.gateway.http.client import Client
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.key_limits import KeyLimits
from daiic.gateway.limits import KNOWN_CLIENTS

DAY = 86400

Unit = Literal["requests", "tokens"]
UNITS: tuple[Unit, ...] = ("requests", "tokens")


class _Bucket:
    """What of a minute's limit is used: it all may be used at once, and comes back evenly."""

    __slots__ = ("at", "used")

    def __init__(self, at: float) -> None:
        self.used = 0.0
        self.at = at

    def drain(self, limit: int, now: float) -> None:
        passed, self.at = now - self.at, now
        self.used = max(0.0, self.used - passed * limit / 60) if limit else 0.0

    def left(self, limit: int) -> "_Left":
        return _Left(limit, limit - self.used, self.used * 60 / limit)


class _Left(msgspec.Struct, frozen=True):
    """How much is left of a limit, and the seconds until all of it is again."""

    limit: int
    amount: float
    reset: float


class _Limits:
    """What holds for a client: what its own limits say, else the defaults."""

    __slots__ = ("at_once", "defaults", "own", "per_day", "per_minute")

    def __init__(self, own: KeyLimits, defaults: KeyLimits) -> None:
        def limit(name: str) -> int:
            value: int | None = getattr(own, name)
            return getattr(defaults, name) or 0 if value is None else value

        self.own, self.defaults = own, defaults
        self.at_once = limit("concurrent_requests")
        self.per_minute: dict[Unit, int] = {unit: limit(f"{unit}_per_minute") for unit in UNITS}
        self.per_day: dict[Unit, int] = {unit: limit(f"{unit}_per_day") for unit in UNITS}


class _Use:
    __slots__ = ("day", "limits", "minute", "running", "today")

    def __init__(self, limits: _Limits, at: float, day: int, today: dict[Unit, int]) -> None:
        self.limits = limits
        self.minute: dict[Unit, _Bucket] = {unit: _Bucket(at) for unit in UNITS}
        self.day = day
        self.today = today
        self.running = 0


def _nothing(client: Client) -> tuple[int, int]:
    return 0, 0


class RateLimits:
    """Counts what each client uses; 0 is no limit."""

    def __init__(
        self,
        defaults: KeyLimits,
        used_today: Callable[[Client], tuple[int, int]] = _nothing,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`defaults` hold where a client's own limits say nothing.

        `used_today` returns the requests and tokens that a client used before it was known here.
        """
        self._defaults = defaults
        self._used_today = used_today
        self._clock = clock
        self._wall_clock = wall_clock
        self._uses: OrderedDict[str, _Use] = OrderedDict()

    def change(self, defaults: KeyLimits) -> None:
        """Apply other limits from now on."""
        self._defaults = defaults

    def acquire(self, client: Client) -> None:
        """Count one more request of `client`; `release` must follow.

        Raises:
            ApiError: 429, with the seconds after which to try again.
        """
        use = self._use(client)
        at_once = use.limits.at_once
        if at_once and use.running >= at_once:
            raise _exceeded(
                f"this key already has {use.running} requests running, which is its limit", 1
            )
        for unit, limit in use.limits.per_minute.items():
            missing = use.minute[unit].used + 1 - limit
            if limit and missing > 0:
                raise _exceeded(
                    f"this key may use {limit} {unit} a minute", math.ceil(missing * 60 / limit)
                )
        for unit, limit in use.limits.per_day.items():
            if limit and use.today[unit] >= limit:
                raise _exceeded(
                    f"this key may use {limit} {unit} a day, and has", self._until_midnight()
                )
        _count(use, "requests", 1)
        use.running += 1

    def release(self, client: Client) -> None:
        """End a request that `acquire` allowed."""
        use = self._uses.get(client.id)
        if use is not None:
            use.running -= 1

    def limits_tokens(self, client: Client) -> bool:
        """Return whether there is a limit of the tokens of `client`."""
        limits = self._limits(client, self._uses.get(client.id))
        return bool(limits.per_minute["tokens"] or limits.per_day["tokens"])

    def spend(self, client: Client, tokens: int) -> None:
        """Count `tokens` of a request of `client` that runs."""
        _count(self._use(client), "tokens", tokens)

    def headers(self, client: Client) -> dict[str, str]:
        """Return what an answer's header says of the limits, in OpenAI's words.

        Of the limits of a minute and of a day, it is the one of which less is left.
        """
        if client.id not in self._uses:
            return {}
        use = self._use(client)
        headers = {}
        for unit in UNITS:
            kinds = []
            if minute := use.limits.per_minute[unit]:
                kinds.append(use.minute[unit].left(minute))
            if day := use.limits.per_day[unit]:
                kinds.append(_Left(day, day - use.today[unit], self._until_midnight()))
            if kinds:
                least = min(kinds, key=lambda left: left.amount)
                headers[f"x-ratelimit-limit-{unit}"] = str(least.limit)
                headers[f"x-ratelimit-remaining-{unit}"] = str(max(0, math.floor(least.amount)))
                headers[f"x-ratelimit-reset-{unit}"] = _duration(least.reset)
        return headers

    def _limits(self, client: Client, use: _Use | None) -> _Limits:
        """Return what holds for `client`, which may have changed since its last `use`."""
        if use is not None:
            limits = use.limits
            if limits.own is client.limits and limits.defaults is self._defaults:
                return limits
        return _Limits(client.limits, self._defaults)

    def _use(self, client: Client) -> _Use:
        """Return what `client` has used, as of now."""
        now, day = self._clock(), int(self._wall_clock() // DAY)
        use = self._uses.get(client.id)
        limits = self._limits(client, use)
        if use is None:
            requests, tokens = self._used_today(client)
            use = _Use(limits, now, day, {"requests": requests, "tokens": tokens})
            self._uses[client.id] = use
            self._forget()
        use.limits = limits
        self._uses.move_to_end(client.id)
        if use.day != day:
            use.day, use.today = day, dict.fromkeys(UNITS, 0)
        for unit, limit in limits.per_minute.items():
            use.minute[unit].drain(limit, now)
        return use

    def _until_midnight(self) -> int:
        return DAY - int(self._wall_clock()) % DAY

    def _forget(self) -> None:
        if len(self._uses) > KNOWN_CLIENTS:
            idle = next((name for name, use in self._uses.items() if not use.running), None)
            if idle is not None:
                del self._uses[idle]


def _count(use: _Use, unit: Unit, amount: int) -> None:
    use.minute[unit].used += amount
    use.today[unit] += amount


def _duration(seconds: float) -> str:
    """Return a time as OpenAI's headers have it: "250ms", "6s", "1h2m3s"."""
    if 0 < seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return (
        (f"{hours}h" if hours else "")
        + (f"{minutes}m" if hours or minutes else "")
        + f"{whole % 60}s"
    )


def _exceeded(what: str, retry_after: int) -> ApiError:
    return ApiError(
        429,
        f"{what}: try again in {retry_after} s, or ask the operator for a higher limit",
        type="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=retry_after,
    )
