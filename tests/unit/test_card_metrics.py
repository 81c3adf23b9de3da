"""Metrics of graphics cards stay few and valid, whatever workers say."""

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from daiic.card_metrics import MOST, cards_of_workers
from daiic.gateway.monitoring.cards import CardCollector
from daiic.gateway.monitoring.cluster_view import ClusterView
from daiic.wire import daiic_pb2 as pb


def with_cards(worker: str, *cards: pb.Card) -> pb.Heartbeat:
    return pb.Heartbeat(worker_id=worker, name=worker, cards=cards)


def test_a_gateway_tells_what_the_head_reports() -> None:
    view = ClusterView(None)
    registry = CollectorRegistry()
    registry.register(CardCollector(view))
    assert b"worker" not in generate_latest(registry)
    status = pb.ClusterStatus()
    status.workers.add(heartbeat=with_cards("north", pb.Card(name="RTX 3090", power=240)))
    view.update(status)
    samples = [
        sample
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    ]
    assert [(sample.name, sample.labels["worker"], sample.value) for sample in samples] == [
        ("daiic_gateway_card_power_watts", "north", 240)
    ]


def test_there_are_no_more_than_the_bound_and_none_twice() -> None:
    card = pb.Card(name="x" * 1000, load=0.5)
    beats = [with_cards(str(number), card, card) for number in range(MOST)]
    told = list(cards_of_workers("p", beats))[-1].samples
    assert len(told) == MOST
    alike = [with_cards("w" * 200 + end, card) for end in "ab"]
    assert len(list(cards_of_workers("p", alike))[-1].samples) == 1
