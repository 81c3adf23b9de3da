"""Per-key limits, on clocks of the test's own."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.gateway.http.client import Client
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.key_limits import KeyLimits
from daiic.gateway.http.rate_limits import DAY, RateLimits

ANN, BOB = Client("ann", "ann"), Client("bob", "bob")


class Clock:
    """Both clocks: seconds since something, and since the Epoch, here a midnight."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def limits_of(clock: Clock | None = None, **amounts: int) -> RateLimits:
    clock = clock or Clock()
    return RateLimits(KeyLimits(**amounts), clock=clock, wall_clock=clock)


def refusal(limits: RateLimits, client: Client = ANN) -> ApiError:
    with pytest.raises(ApiError) as refused:
        limits.acquire(client)
    assert refused.value.status == 429
    return refused.value


def test_a_minutes_worth_may_come_at_once_and_then_refills_evenly() -> None:
    clock = Clock()
    limits = limits_of(clock, requests_per_minute=30)
    for _ in range(30):
        limits.acquire(ANN)
    assert refusal(limits).retry_after == 2
    clock.now += 2
    limits.acquire(ANN)


def test_keys_do_not_use_up_each_others_limits() -> None:
    limits = limits_of(requests_per_minute=1, concurrent_requests=1)
    limits.acquire(ANN)
    limits.acquire(BOB)


def test_concurrency_frees_up_when_a_request_ends() -> None:
    limits = limits_of(concurrent_requests=2)
    limits.acquire(ANN)
    limits.acquire(ANN)
    assert "2 requests running" in refusal(limits).message
    limits.release(ANN)
    limits.acquire(ANN)


@given(
    per_minute=st.integers(1, 600),
    pauses=st.lists(st.floats(0, 30, allow_nan=False), max_size=200),
)
def test_no_client_gets_more_than_its_rate_and_one_burst(
    per_minute: int, pauses: list[float]
) -> None:
    clock = Clock()
    limits = limits_of(clock, requests_per_minute=per_minute)
    passed = 0
    for pause in pauses:
        clock.now += pause
        try:
            limits.acquire(ANN)
            passed += 1
        except ApiError as error:
            assert error.retry_after >= 1
    assert passed <= per_minute + clock.now * per_minute / 60 + 1e-6


@pytest.mark.parametrize("per_minute", [1, 7, 59, 61, 1000])
def test_what_retry_after_says_is_true(per_minute: int) -> None:
    clock = Clock()
    limits = limits_of(clock, requests_per_minute=per_minute)
    for _ in range(per_minute):
        limits.acquire(ANN)
    clock.now += refusal(limits).retry_after
    limits.acquire(ANN)


def test_tokens_are_counted_as_they_come_and_what_was_too_much_is_waited_for() -> None:
    clock = Clock()
    limits = limits_of(clock, tokens_per_minute=600)
    limits.acquire(ANN)
    limits.spend(ANN, 500)
    limits.acquire(ANN)
    limits.spend(ANN, 400)
    assert refusal(limits).retry_after == 31
    limits.acquire(BOB)
    clock.now += 30
    refusal(limits)
    clock.now += 1
    limits.acquire(ANN)


def test_a_days_worth_ends_at_midnight_and_counts_what_was_used_before_a_restart() -> None:
    clock = Clock()
    clock.now = 10 * DAY + 1
    limits = RateLimits(
        KeyLimits(requests_per_day=5, tokens_per_day=1000),
        lambda client: (3, 900) if client is ANN else (0, 0),
        clock,
        clock,
    )
    limits.acquire(ANN)
    limits.spend(ANN, 100)
    assert "1000 tokens a day" in refusal(limits).message
    assert refusal(limits).retry_after == DAY - 1
    for _ in range(5):
        limits.acquire(BOB)
    assert "5 requests a day" in refusal(limits, BOB).message
    clock.now += DAY - 1
    limits.acquire(ANN)
    limits.acquire(BOB)


def test_keys_own_limits_go_before_the_gateways_and_0_is_none() -> None:
    limits = limits_of(requests_per_minute=2)
    free = msgspec.structs.replace(ANN, limits=KeyLimits(requests_per_minute=0))
    tight = msgspec.structs.replace(BOB, limits=KeyLimits(requests_per_minute=1))
    for _ in range(100):
        limits.acquire(free)
    limits.acquire(tight)
    refusal(limits, tight)


def test_other_limits_hold_from_the_next_request_on() -> None:
    limits = limits_of(tokens_per_day=1000)
    limits.acquire(ANN)
    limits.spend(ANN, 300)
    assert limits.headers(ANN)["x-ratelimit-remaining-tokens"] == "700"
    changed = msgspec.structs.replace(ANN, limits=KeyLimits(tokens_per_day=300))
    refusal(limits, changed)
    limits.change(KeyLimits(concurrent_requests=1))
    assert "1 requests running" in refusal(limits).message


def test_headers_tell_in_openais_words_what_is_left_of_the_tighter_limit() -> None:
    clock = Clock()
    limits = limits_of(clock, requests_per_minute=60, tokens_per_minute=6000, tokens_per_day=10_000)
    assert limits.headers(ANN) == {}
    limits.acquire(ANN)
    limits.spend(ANN, 3000)
    assert limits.headers(ANN) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "3000",
        "x-ratelimit-reset-tokens": "30s",
    }
    clock.now += 30.5
    limits.spend(ANN, 5000)
    told = limits.headers(ANN)
    assert told["x-ratelimit-limit-tokens"] == "6000"
    assert told["x-ratelimit-remaining-tokens"] == "1000"
    clock.now += 30
    limits.spend(ANN, 1800)
    told = limits.headers(ANN)
    assert (told["x-ratelimit-limit-tokens"], told["x-ratelimit-remaining-tokens"]) == (
        "10000",
        "200",
    )
    assert told["x-ratelimit-reset-tokens"] == "23h59m0s"


def test_a_key_may_use_the_models_that_its_patterns_name() -> None:
    limits = KeyLimits(models=("Qwen/*", "daiic-tiny-chat"))
    assert limits.allows("Qwen/Qwen3-4B") and limits.allows("daiic-tiny-chat")
    assert not limits.allows("daiic-tiny-chat2") and not limits.allows("qwen/x")
    assert KeyLimits().allows("anything")
