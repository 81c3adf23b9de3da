"""What requests use is booked, whatever becomes of the database behind it."""

import datetime
import sqlite3
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.client import Client
from daiic.gateway.monitoring.cluster_view import ClusterView
from daiic.gateway.usage import ledger as ledger_module
from daiic.gateway.usage.amounts import Amounts
from daiic.gateway.usage.database import Question, Used
from daiic.gateway.usage.ledger import Ledger
from daiic.gateway.usage.store import UsageStore
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import one_worker

ALWAYS = Question("0000-01-01", "9999-01-01", ("account", "model"))
ANN = Client("k1", "ann", "k1")


class Store(UsageStore):
    """A store in memory whose writing fails while `fails` says how."""

    fails: Exception | None = None

    def __init__(self) -> None:
        super().__init__("", 400)

    def add(self, rows: list[Used]) -> None:
        if self.fails is not None:
            raise self.fails
        super().add(rows)


def booked(
    store: UsageStore, today: Callable[[], datetime.date] | None = None
) -> tuple[Ledger, CollectorRegistry]:
    registry = CollectorRegistry()
    view = ClusterView(None)
    view.update(one_worker())
    ledger = Ledger(store, view, registry, **({"today": today} if today else {}))
    ledger.load()
    return ledger, registry


def request(client: Client = ANN, status: int = 200, used: Amounts | None = None) -> AccessLogEntry:
    entry = AccessLogEntry("id", endpoint="chat", client=client, model="stub-chat", status=status)
    entry.used = {"stub-chat": used or Amounts()}
    return entry


@pytest.mark.parametrize(
    "failure", [sqlite3.OperationalError("database or disk is full"), sqlite3.Error("odd")]
)
async def test_what_cannot_be_written_is_kept_and_written_later(failure: Exception) -> None:
    store = Store()
    ledger, _ = booked(store)
    store.fails = failure
    for _ in range(2):
        ledger.book(request(used=Amounts(prompt_tokens=5)))
        await ledger.write()
    assert await ledger.used(ALWAYS) == []
    store.fails = None
    (used,) = await ledger.used(ALWAYS)
    assert (used.amounts.requests, used.amounts.prompt_tokens) == (2, 10)


async def test_what_can_never_be_written_does_not_hold_up_the_rest() -> None:
    store = Store()
    ledger, _ = booked(store)
    store.fails = sqlite3.IntegrityError("NOT NULL constraint failed")
    ledger.book(request())
    await ledger.write()
    store.fails = None
    ledger.book(request())
    (used,) = await ledger.used(ALWAYS)
    assert used.amounts.requests == 1


async def test_day_begins_anew_at_midnight() -> None:
    day = datetime.date(2026, 3, 1)
    ledger, _ = booked(Store(), lambda: day)
    ledger.book(request(used=Amounts(prompt_tokens=3, completion_tokens=4)))
    assert ledger.used_today(ANN) == (1, 7)
    day += datetime.timedelta(1)
    assert ledger.used_today(ANN) == (0, 0)


async def test_failures_are_counted_but_not_clients_that_leave() -> None:
    ledger, registry = booked(Store())
    for status in (200, 400, 499, 503):
        ledger.book(request(status=status))
    (used,) = await ledger.used(ALWAYS)
    assert (used.amounts.requests, used.amounts.errors) == (4, 2)
    labels = {"key": "ann", "outcome": "error"}
    assert registry.get_sample_value("daiic_gateway_key_requests_total", labels) == 2


async def test_memory_is_bounded_whatever_keys_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "PENDING_USES", 5)
    monkeypatch.setattr(ledger_module, "KEY_LABELS", 3)
    ledger, registry = booked(Store())
    for number in range(20):
        ledger.book(request(Client(f"k{number}", f"name {number}", f"k{number}")))
    assert len(await ledger.used(ALWAYS)) == 5
    keys = {
        sample.labels["key"]
        for metric in registry.collect()
        for sample in metric.samples
        if "key" in sample.labels
    }
    assert keys == {"name 0", "name 1", "name 2", "other"}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_lengths_that_are_none_are_not_counted(seconds: float) -> None:
    amounts = Amounts()
    amounts.count_made(pb.Result(seconds=seconds))
    amounts.count_made(pb.Result(seconds=2.5))
    amounts.count_made(pb.Result(speech=pb.Speech(samples=b"\0" * 100, rate=50)))
    assert amounts.audio_seconds == 3.5
