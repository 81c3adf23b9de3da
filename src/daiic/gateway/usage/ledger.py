"""What each account uses, booked as requests end, and written down a few seconds later."""

import asyncio
import datetime
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter

from daiic.background import in_thread
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.client import ANONYMOUS, Client
from daiic.gateway.http.errors import CLIENT_CLOSED_REQUEST
from daiic.gateway.limits import KEY_LABELS, PENDING_USES
from daiic.gateway.monitoring.cluster_view import ClusterView
from daiic.gateway.usage.amounts import Amounts
from daiic.gateway.usage.database import Question, Used
from daiic.gateway.usage.store import UsageStore

WRITE_EVERY = 5.0
"""Seconds; what was used in them is lost if the process is killed."""
DAY = datetime.timedelta(days=1)

log = structlog.get_logger()


class Ledger:
    """What was used today is known at once, what was used before is asked of the store."""

    def __init__(
        self,
        store: UsageStore,
        view: ClusterView,
        registry: CollectorRegistry,
        today: Callable[[], datetime.date] = lambda: datetime.datetime.now(datetime.UTC).date(),
    ) -> None:
        self._store = store
        self._view = view
        self._today = today
        self._day = today()
        self._totals: dict[str, Amounts] = {}
        self._pending: dict[tuple[str, str, str, str], Amounts] = {}
        self._using_store = asyncio.Lock()
        self._writable = True
        self._counters: dict[str, _Counters] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"daiic_gateway_key_{name}", text, labels, registry=registry)

        self._requests = counter("requests", "Requests by the key's name", "key", "outcome")
        self._tokens = counter("tokens", "Tokens by the key's name", "key", "direction")

    def load(self) -> None:
        """Open the store, and read what was used today before this process began."""
        self._store.open()
        today = Question(self._day.isoformat(), (self._day + DAY).isoformat(), ("account",))
        try:
            self._totals = {used.account: used.amounts for used in self._store.used(today)}
        except sqlite3.Error as error:
            log.error("what was used today cannot be read", reason=str(error))
            self._store.recover(error)

    def used_today(self, client: Client) -> tuple[int, int]:
        """Return the requests and tokens of a client's account today, of what has been booked.

        Clients without a key have one account, so of each alone nothing is known.
        """
        self._turn_page()
        used = self._totals.get(client.account)
        if used is None or client.account == ANONYMOUS:
            return 0, 0
        return used.requests, used.tokens

    def book(self, entry: AccessLogEntry) -> None:
        """Note what a request has used that is over."""
        client = entry.client
        named = self._view.label(entry.model)
        failed = entry.failed or (entry.status >= 400 and entry.status != CLIENT_CLOSED_REQUEST)
        used = {named: Amounts(requests=1, errors=int(failed))}
        for model, amounts in entry.used.items():
            used.setdefault(self._view.label(model), Amounts()).add(amounts)
        self._turn_page()
        total = self._totals.setdefault(client.account, Amounts())
        counters = self._counters_of(client.account_name)
        (counters.errors if failed else counters.requests).inc()
        for model, amounts in used.items():
            total.add(amounts)
            key = (self._day.isoformat(), client.account, client.account_name, model)
            self._pend(key, amounts)
            counters.prompt_tokens.inc(amounts.prompt_tokens)
            counters.completion_tokens.inc(amounts.completion_tokens)

    async def used(self, question: Question) -> list[Used]:
        """Return what was used; all that has been booked is in it.

        Raises:
            sqlite3.Error: if it cannot be read.
        """
        await self.write()
        async with self._using_store:
            return await in_thread(lambda: self._store.used(question))

    async def follow(self) -> None:
        """Write down what is booked, again and again; never returns."""
        while True:
            await asyncio.sleep(WRITE_EVERY)
            await self.write()

    async def write(self) -> None:
        """Write down what has been booked; what cannot be written is kept for the next time."""
        async with self._using_store:
            if not self._pending:
                return
            pending, self._pending = self._pending, {}
            rows = [
                Used(day, account, name, model, amounts)
                for (day, account, name, model), amounts in pending.items()
            ]
            try:
                await in_thread(lambda: self._store.add(rows))
            except (sqlite3.IntegrityError, ValueError, OverflowError) as failure:
                log.error("what keys used cannot be put into a database", reason=str(failure))
            except sqlite3.Error as failure:
                error = failure
                for key, amounts in pending.items():
                    self._pend(key, amounts)
                if self._writable:
                    log.error(
                        "what keys use cannot be written; the gateway goes on, and tries again. "
                        "Is there space on the disk of state_dir?",
                        reason=str(error),
                    )
                self._writable = False
                await in_thread(lambda: self._store.recover(error))
            else:
                self._writable = True

    async def close(self) -> None:
        """Write down what is left, and let go of the store."""
        await self.write()
        self._store.close()

    def _turn_page(self) -> None:
        today = self._today()
        if today != self._day:
            self._day = today
            self._totals.clear()

    def _pend(self, key: tuple[str, str, str, str], amounts: Amounts) -> None:
        held = self._pending.get(key)
        if held is not None:
            held.add(amounts)
        elif len(self._pending) < PENDING_USES:
            self._pending[key] = msgspec.structs.replace(amounts)

    def _counters_of(self, name: str) -> "_Counters":
        """Return the counters of the key called `name`; names beyond a number share theirs."""
        if name not in self._counters:
            if len(self._counters) >= KEY_LABELS:
                name = "other"
            if name not in self._counters:
                self._counters[name] = _Counters(
                    self._requests.labels(name, "ok"),
                    self._requests.labels(name, "error"),
                    self._tokens.labels(name, "prompt"),
                    self._tokens.labels(name, "completion"),
                )
        return self._counters[name]


@dataclass(slots=True)
class _Counters:
    """What is counted under one key's name: looking each up again would cost more than adding."""

    requests: Counter
    errors: Counter
    prompt_tokens: Counter
    completion_tokens: Counter
