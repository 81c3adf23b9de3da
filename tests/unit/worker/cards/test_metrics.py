"""Prometheus gets what was measured of each card, in base units, and nothing else."""

from daiic.wire import daiic_pb2 as pb
from daiic.wire.counters import Counters
from daiic.worker.metrics import Statistics, WorkerCollector


def test_cards_have_metrics_for_what_was_measured() -> None:
    collector = WorkerCollector(Statistics(), Counters())
    collector.heartbeat.cards.add(name="A", vram=pb.Memory(total=8, free=3), temperature=61)
    collector.heartbeat.cards.add(name="A", power=240.5, load=0)
    found = {
        (sample.name.removeprefix("daiic_worker_card_"), *sorted(sample.labels.items())): value
        for metric in collector.collect()
        for sample in metric.samples
        if sample.name.startswith("daiic_worker_card_")
        for value in [sample.value]
    }
    first, second = ("card", "0"), ("card", "1")
    name = ("name", "A")
    assert found == {
        ("memory_bytes", ("amount", "total"), first, name): 8,
        ("memory_bytes", ("amount", "free"), first, name): 3,
        ("temperature_celsius", first, name): 61,
        ("power_watts", second, name): 240.5,
        ("load_ratio", second, name): 0,
    }
