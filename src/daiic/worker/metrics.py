"""What a worker counts, and how Prometheus reads it."""

import time
from collections import Counter, deque
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daiic.card_metrics import cards_of_worker
from daiic.wire import daiic_pb2 as pb
from daiic.wire.counters import Counters

WINDOW = 10.0
"""Seconds over which rates are averaged."""
FIRST_TOKEN_BOUNDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Statistics:
    """Totals since the start: `outcomes` by kind of work and DONE, CANCELLED or an error's name."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.tokens = 0
        self.first_token = Histogram(
            "daiic_worker_first_token_seconds",
            "From a text task's arrival to its first token, loads included",
            buckets=FIRST_TOKEN_BOUNDS,
            registry=self.registry,
        )
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def done(self) -> int:
        """Tasks answered."""
        return sum(count for (_, outcome), count in self.outcomes.items() if outcome == "DONE")

    def count_tokens(self, number: int) -> None:
        """Record that so many tokens were made just now."""
        self.tokens += number
        self._recent.append((time.monotonic(), number))
        self._forget()

    def tokens_per_second(self) -> float:
        """Return the rate of all tasks together over the last `WINDOW` seconds."""
        self._forget()
        return sum(number for _, number in self._recent) / WINDOW

    def _forget(self) -> None:
        start = time.monotonic() - WINDOW
        while self._recent and self._recent[0][0] < start:
            self._recent.popleft()


class WorkerCollector(Collector):
    """Makes metrics of the statistics, of what a heartbeat says, and of what the socket counts."""

    def __init__(self, statistics: Statistics, wire: Counters) -> None:
        self._statistics = statistics
        self._wire = wire
        self.heartbeat = pb.Heartbeat()
        """The newest."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric but the histogram."""
        statistics, beat = self._statistics, self.heartbeat
        tasks = CounterMetricFamily(
            "daiic_worker_tasks",
            "Tasks that ended, by kind of work and DONE, CANCELLED or the error's name",
            labels=["kind", "outcome"],
        )
        for (kind, outcome), count in sorted(statistics.outcomes.items()):
            tasks.add_metric([kind, outcome], count)
        yield tasks
        yield CounterMetricFamily(
            "daiic_worker_tokens", "Tokens of text made", value=statistics.tokens
        )
        for name, text, value in (
            ("running", "Tasks that run", beat.running),
            ("waiting", "Tasks that wait for a slot", beat.waiting),
            ("slots", "Tasks that may run at once", beat.slots),
        ):
            yield GaugeMetricFamily(f"daiic_worker_{name}", text, value=value)
        memory = GaugeMetricFamily(
            "daiic_worker_memory_bytes",
            "Memory in all, and free for models",
            labels=["memory", "amount"],
        )
        for place, amounts in (("vram", beat.vram), ("ram", beat.ram)):
            memory.add_metric([place, "total"], amounts.total)
            memory.add_metric([place, "free"], amounts.free)
        yield memory
        yield from cards_of_worker("daiic_worker", beat)
        models = GaugeMetricFamily(
            "daiic_worker_model", "1 for the state of each model", labels=["model", "state"]
        )
        loaded = GaugeMetricFamily(
            "daiic_worker_model_bytes", "Memory that a loaded model holds", labels=["model"]
        )
        guesses = GaugeMetricFamily(
            "daiic_worker_guesses",
            "Tokens guessed ahead since the model was loaded: drafted, and accepted of those",
            labels=["model", "guesses"],
        )
        for model in beat.models:
            if model.HasField("speculation"):
                guesses.add_metric([model.name, "drafted"], model.speculation.drafted)
                guesses.add_metric([model.name, "accepted"], model.speculation.accepted)
            models.add_metric([model.name, pb.ModelState.Name(model.state).lower()], 1)
            if model.bytes:
                loaded.add_metric([model.name], model.bytes)
        yield models
        yield loaded
        yield guesses
        for name, count in self._wire.as_dict().items():
            yield CounterMetricFamily(f"daiic_wire_{name}", "See daiic.wire.counters", value=count)
