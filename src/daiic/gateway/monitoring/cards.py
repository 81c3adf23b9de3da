"""Metrics of the workers' graphics cards, as the head reports them."""

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from daiic.card_metrics import cards_of_workers
from daiic.gateway.monitoring.cluster_view import ClusterView


class CardCollector(Collector):
    """Makes them of the status that the gateway knows, when Prometheus asks."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Yield a family for each figure."""
        workers = self._view.status.workers if self._view.status is not None else ()
        yield from cards_of_workers("daiic_gateway", (worker.heartbeat for worker in workers))
