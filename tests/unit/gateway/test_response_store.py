"""Responses are kept within bounds of number, size and time, and for their own client only."""

import pytest

from daiic.gateway import limits
from daiic.gateway.openai.responses import store as module
from daiic.gateway.openai.responses.store import OVERHEAD, KeptResponse, ResponseStore


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ResponseStore:
    return ResponseStore(clock)


def kept(client: str = "a", size: int = 1000) -> KeptResponse:
    return KeptResponse(client, b"i" * (size - OVERHEAD), b"", None)


def test_a_client_finds_its_own_only(store: ResponseStore) -> None:
    store.put("r", kept("a"))
    assert store.get("r", "b") is None and not store.delete("r", "b")
    assert store.get("r", "a") is not None
    assert store.delete("r", "a") and not store.delete("r", "a")
    assert len(store) == 0


def test_what_is_unused_for_long_is_dropped(store: ResponseStore, clock: Clock) -> None:
    store.put("used", kept())
    store.put("unused", kept())
    clock.now = limits.RESPONSE_PATIENCE - 1
    assert store.get("used", "a")
    clock.now += 2
    assert store.get("unused", "a") is None and store.get("used", "a")


def test_the_one_unused_for_longest_makes_room(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESPONSES", 2)
    for name in ("first", "second"):
        store.put(name, kept())
    store.get("first", "a")
    store.put("other", kept("b"))
    store.put("third", kept())
    assert store.get("second", "a") is None
    assert store.get("first", "a") and store.get("third", "a") and store.get("other", "b")


def test_one_client_cannot_crowd_out_another(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLIENT_RESPONSES_BYTES", 5000)
    store.put("theirs", kept("b"))
    for number in range(100):
        store.put(f"mine{number}", kept("a"))
    assert store.get("theirs", "b")
    assert len(store) == 6
    store.put("too large", kept("a", 6000))
    assert store.get("too large", "a") is None and len(store) == 1


def test_all_clients_together_are_bounded(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESPONSES_BYTES", 5000)
    for number in range(100):
        store.put(f"r{number}", kept(f"client{number}"))
    assert len(store) == 5 and store.get("r99", "client99")
