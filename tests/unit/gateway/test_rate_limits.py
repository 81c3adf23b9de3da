"""Per-key limits, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.rate_limits import RateLimits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_come_at_once_and_then_refills_evenly() -> None:
    clock = Clock()
    limits = RateLimits(30, 0, clock)
    for _ in range(30):
        limits.acquire("ann")
    with pytest.raises(ApiError) as refused:
        limits.acquire("ann")
    assert (refused.value.status, refused.value.retry_after) == (429, 2)
    clock.now += 2
    limits.acquire("ann")


def test_keys_do_not_use_up_each_others_limits() -> None:
    limits = RateLimits(1, 1, Clock())
    limits.acquire("ann")
    limits.acquire("bob")


def test_concurrency_frees_up_when_a_request_ends() -> None:
    limits = RateLimits(0, 2, Clock())
    limits.acquire("ann")
    limits.acquire("ann")
    with pytest.raises(ApiError, match="2 requests running"):
        limits.acquire("ann")
    limits.release("ann")
    limits.acquire("ann")


@given(
    per_minute=st.integers(1, 600),
    pauses=st.lists(st.floats(0, 30, allow_nan=False), max_size=200),
)
def test_no_client_gets_more_than_its_rate_and_one_burst(
    per_minute: int, pauses: list[float]
) -> None:
    clock = Clock()
    limits = RateLimits(per_minute, 0, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        try:
            limits.acquire("ann")
            passed += 1
        except ApiError as error:
            assert error.retry_after >= 1
    assert passed <= per_minute + clock.now * per_minute / 60 + 1e-6


def test_what_retry_after_says_is_true() -> None:
    clock = Clock()
    limits = RateLimits(7, 0, clock)
    for _ in range(7):
        limits.acquire("ann")
    with pytest.raises(ApiError) as refused:
        limits.acquire("ann")
    clock.now += refused.value.retry_after
    limits.acquire("ann")
