"""Metrics of graphics cards, from what heartbeats say: the same for workers, heads and gateways."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from prometheus_client.core import GaugeMetricFamily, Metric

from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

NAME = 64
"""Characters of a name in a label."""
MOST = 1024
"""Cards that are told of at most; the names of those that come and go stay with Prometheus."""

_FIELDS = (
    ("temperature", "temperature_celsius", "A graphics card's temperature"),
    ("power", "power_watts", "What a graphics card draws"),
    ("power_limit", "power_limit_watts", "What a graphics card may draw"),
    ("load", "load_ratio", "Share of time in which a graphics card computes"),
)

_Told = tuple[list[str], pb.Card]


def cards_of_worker(prefix: str, beat: pb.Heartbeat) -> Iterator[Metric]:
    """Yield what one worker measured of each of its cards."""
    return _families(prefix, ["card", "name"], list(_cards(beat)))


def cards_of_workers(prefix: str, beats: Iterable[pb.Heartbeat]) -> Iterator[Metric]:
    """Yield what each worker measured of each of its cards, of `MOST` cards in all.

    `worker` is its id, which no two have; names are for people.
    """
    told = (
        ([_label(beat.worker_id), _label(beat.name), *labels], card)
        for beat in beats
        for labels, card in _cards(beat)
    )
    unique: Mapping[tuple[str, str], _Told] = {
        (labels[0], labels[2]): (labels, card) for labels, card in islice(told, MOST)
    }
    return _families(prefix, ["worker", "worker_name", "card", "name"], [*unique.values()])


def _cards(beat: pb.Heartbeat) -> Iterator[_Told]:
    for index, card in enumerate(beat.cards):
        yield [str(index), _label(card.name)], card


def _label(name: str) -> str:
    return shown(name, NAME)


def _families(prefix: str, labels: list[str], cards: list[_Told]) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        f"{prefix}_card_memory_bytes",
        "A graphics card's memory in all, and free",
        labels=[*labels, "amount"],
    )
    for values, card in cards:
        if card.vram.total:
            memory.add_metric([*values, "total"], card.vram.total)
            memory.add_metric([*values, "free"], card.vram.free)
    yield memory
    for field, name, text in _FIELDS:
        family = GaugeMetricFamily(f"{prefix}_card_{name}", text, labels=labels)
        for values, card in cards:
            if card.HasField(field):
                family.add_metric(values, getattr(card, field))
        yield family
