"""What Prometheus reads: the head's counts, shown when it asks."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daiic.card_metrics import cards_of_workers
from daiic.head.core import Core
from daiic.head.statistics import BOUNDS, Durations
from daiic.model_kinds import ABILITIES
from daiic.shown import word
from daiic.wire import daiic_pb2 as pb
from daiic.wire.counters import Counters


class HeadCollector(Collector):
    """Makes metrics of what the core and the socket count anyway."""

    def __init__(self, core: Core, wire: Counters) -> None:
        self._core = core
        self._wire = wire

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the head."""
        dispatcher, statistics = self._core.dispatcher, self._core.statistics
        tasks = CounterMetricFamily(
            "daiic_head_tasks",
            "Tasks that ended, by kind of work and DONE, CANCELLED or the error's name",
            labels=["kind", "outcome"],
        )
        for (work, outcome), count in sorted(statistics.outcomes.items()):
            tasks.add_metric([work, outcome], count)
        yield tasks
        for name, text, total in (
            ("moved", "Tasks taken from a worker and given to another", statistics.moved),
            ("repeated", "TASKs that were known already", statistics.repeated),
            ("malformed", "Messages that could not be decoded", statistics.malformed),
            ("foreign", "Answers from elsewhere than the task's worker", statistics.foreign),
            (
                "refused_heartbeats",
                "Heartbeats of workers for which there was no room",
                statistics.refused_heartbeats,
            ),
            (
                "read_before",
                "Tasks given to a worker that had read the beginning of their prompt before",
                statistics.read_before,
            ),
            ("prompt_tokens", "Tokens of prompts, by their answers", statistics.prompt_tokens),
            ("cached_tokens", "Those that workers did not read again", statistics.cached_tokens),
            (
                "patient",
                "Tasks that waited for a worker which had read their prompt, as others were free",
                statistics.patient,
            ),
            ("rewarded", "Those of them that got that worker", statistics.rewarded),
        ):
            yield CounterMetricFamily(f"daiic_head_{name}", text, value=total)
        yield GaugeMetricFamily(
            "daiic_head_queued", "Tasks waiting for a worker", value=len(dispatcher.queue)
        )
        yield GaugeMetricFamily(
            "daiic_head_queue_size", "Tasks that may wait", value=dispatcher.policy.queue_size
        )
        yield GaugeMetricFamily(
            "daiic_head_in_flight", "Tasks on workers", value=dispatcher.in_flight
        )
        yield self._workers()
        yield self._capabilities()
        workers = sorted(dispatcher.workers, key=lambda worker: worker.id)
        yield from cards_of_workers("daiic_head", (worker.heartbeat for worker in workers))
        yield _histogram(
            "daiic_head_queue_seconds",
            "Wait for a worker, each time a task is placed",
            statistics.queued,
        )
        yield _histogram(
            "daiic_head_task_seconds", "From a task's arrival to its end", statistics.total
        )
        for name, value in self._wire.as_dict().items():
            yield CounterMetricFamily(f"daiic_wire_{name}", "See daiic.wire.counters", value=value)

    def _workers(self) -> Metric:
        family = GaugeMetricFamily(
            "daiic_head_workers", "Workers by state and backend", labels=["state", "backend"]
        )
        counts = Counter(
            (word(pb.WorkerState, worker.state), word(pb.Backend, worker.heartbeat.backend))
            for worker in self._core.dispatcher.workers
        )
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        return family

    def _capabilities(self) -> Metric:
        family = GaugeMetricFamily(
            "daiic_head_capable_workers",
            "Ready workers with a model that can do this",
            labels=["capability"],
        )
        counts: Counter[str] = Counter()
        for worker in self._core.dispatcher.workers:
            if worker.state == pb.READY:
                can = frozenset[int]().union(
                    *(model.capabilities or () for model in worker.models.values())
                )
                counts.update(word(pb.Capability, number) for number in can if number in ABILITIES)
        for capability, count in sorted(counts.items()):
            family.add_metric([capability], count)
        return family


def registry_for(core: Core, wire: Counters) -> CollectorRegistry:
    """Return a registry of the head's metrics alone."""
    registry = CollectorRegistry()
    registry.register(HeadCollector(core, wire))
    return registry


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), durations.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=durations.sum)
