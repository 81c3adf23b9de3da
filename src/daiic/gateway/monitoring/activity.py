"""What the gateway is doing and has just done, for the page and for Prometheus.

Nothing of a prompt, an answer or a key is kept.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from daiic.gateway.limits import KEPT_REQUESTS
from daiic.gateway.monitoring.cluster_view import ClusterView

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
RATES = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000)

Endpoint = Literal[
    "chat",
    "completion",
    "response",
    "message",
    "token_count",
    "image",
    "transcription",
    "speech",
    "embedding",
    "rerank",
    "load",
    "manage",
    "models",
    "bench",
]


@dataclass(slots=True)
class Activity:
    """One request that uses a model; times are of `time.time()`, `seconds` is 0 while it runs."""

    id: str
    endpoint: Endpoint
    unit: str
    """What is produced: "tokens", "images", "embeddings", "texts", "sentences"."""
    model: str
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)
    first_output: float | None = None
    seconds: float = 0.0
    worker: str = ""
    produced: int = 0
    """How many of its unit."""
    outcome: str = "running"

    def output(self, worker: str, amount: int, *, streamed: bool = False) -> None:
        """Note that `worker` produced `amount` more."""
        if streamed and self.first_output is None:
            self.first_output = time.perf_counter() - self.clock
        self.worker = worker or self.worker
        self.produced += amount

    @property
    def rate(self) -> float:
        """Output per second: of a stream after its first token, else over all; 0 if unknown."""
        if self.first_output is None:
            return self.produced / self.seconds if self.seconds else 0.0
        span = self.seconds - self.first_output
        return (self.produced - 1) / span if self.produced > 1 and span > 0 else 0.0


class ActivityLog:
    """The requests that run, the last ones that ended, and the counts of all."""

    def __init__(self, registry: CollectorRegistry, view: ClusterView) -> None:
        self._view = view
        self._running: dict[int, Activity] = {}
        self._recent: deque[Activity] = deque(maxlen=KEPT_REQUESTS)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"daiic_gateway_{name}", text, labels, registry=registry)

        def histogram(
            name: str, text: str, label: str, buckets: tuple[float, ...] = SECONDS
        ) -> Histogram:
            name = f"daiic_gateway_{name}"
            return Histogram(name, text, (label,), buckets=buckets, registry=registry)

        def gauge(name: str, text: str, value: Callable[[], float]) -> None:
            Gauge(f"daiic_gateway_{name}", text, registry=registry).set_function(value)

        self._requests = counter(
            "requests", "Responses by HTTP status", "endpoint", "model", "status"
        )
        self._tokens = counter("tokens", "Tokens of prompts and answers", "model", "direction")
        self._images = counter("images", "Images made", "model")
        self._errors = counter("task_errors", "Tasks that failed", "error")
        self._duration = histogram(
            "request_seconds", "Seconds from request to end of answer", "endpoint"
        )
        self._first = histogram(
            "first_token_seconds", "Seconds from request to first token of a stream", "model"
        )
        self._rate = histogram(
            "tokens_per_second", "Tokens per second of a stream, after its first", "model", RATES
        )
        gauge("in_flight", "Requests running", lambda: len(self._running))
        gauge(
            "cluster_queued",
            "Tasks in the head's queue",
            lambda: view.status.queued if view.status else 0,
        )
        gauge(
            "cluster_workers",
            "Workers registered with the head",
            lambda: len(view.status.workers) if view.status else 0,
        )
        gauge("cluster_reachable", "1 if a head answers", lambda: 0 if view.why_not_ready() else 1)

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, activity: Activity) -> None:
        """Note that a request began."""
        self._running[id(activity)] = activity

    def end(self, activity: Activity, outcome: str) -> None:
        """Note that a request ended: `outcome` is "ok", "cancelled" or an error's code."""
        del self._running[id(activity)]
        activity.seconds = time.perf_counter() - activity.clock
        activity.outcome = outcome
        self._recent.appendleft(activity)
        model = self._view.label(activity.model)
        if activity.first_output is not None:
            self._first.labels(model).observe(activity.first_output)
            if activity.rate:
                self._rate.labels(model).observe(activity.rate)
        if outcome not in ("ok", "cancelled"):
            self._errors.labels(outcome).inc()

    def count_tokens(self, model: str, read: int, written: int) -> None:
        """Count the tokens of one answer."""
        label = self._view.label(model)
        self._tokens.labels(label, "prompt").inc(read)
        self._tokens.labels(label, "completion").inc(written)

    def count_images(self, model: str, made: int) -> None:
        """Count the images of one answer."""
        self._images.labels(self._view.label(model)).inc(made)

    def count_request(self, endpoint: str, model: str | None, status: int, seconds: float) -> None:
        """Count one HTTP request; `endpoint` is a route, not a path."""
        self._requests.labels(endpoint, self._view.label(model) if model else "", status).inc()
        self._duration.labels(endpoint).observe(seconds)

    def __iter__(self) -> Iterator[Activity]:
        """Yield those that run, the newest first, then those that ended, the last first."""
        yield from reversed(self._running.values())
        yield from self._recent
