"""Cables to other machines, Thunderbolt's and USB4's, as ways to heads beside the network."""

from collections.abc import Iterator

import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from daiic.wire.address import format_address
from daiic.wire.keyfile import ClusterKey
from daiic.wire.links import Links, LinksUnusable, PathChange
from daiic.wire.messages import Address
from daiic.wire.udp import MeshSocket
from daiic.worker.metrics import Statistics

log = structlog.get_logger()


class LinkCollector(Collector):
    """Makes metrics of what links count."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def collect(self) -> Iterator[Metric]:
        """Yield every counter."""
        for name, count in self._links.counters().items():
            yield CounterMetricFamily(f"daiic_wire_{name}", "See LinkCounters of dcf", value=count)


def use_cables(
    socket: MeshSocket, key: ClusterKey | None, allow_unauthenticated: bool, statistics: Statistics
) -> None:
    """Have `socket` reach heads over Thunderbolt too; say so if that is not possible."""
    if key is None and not allow_unauthenticated:
        log.warning(
            "usb4_enabled has no effect: a cable leads to another machine, which takes a cluster "
            "key. Set cluster_key_file (`daiic keygen` makes one), or allow_unauthenticated if "
            "whoever is at its other end is trusted"
        )
        return
    try:
        links = Links(key)
    except LinksUnusable as error:
        log.warning("usb4_enabled has no effect, heads are reached over UDP", reason=str(error))
        return
    socket.use_links(links, Teller().told)
    statistics.registry.register(LinkCollector(links))
    if names := links.names():
        log.info("peers are looked for over cables", devices=", ".join(names))
    else:
        log.info(
            "there is no Thunderbolt network device with a cable; heads are reached over UDP until "
            "there is one (`hydramesh usb4 doctor` says what is missing)"
        )


class Teller:
    """Logs what becomes of paths."""

    def __init__(self) -> None:
        self._reached: set[Address] = set()

    def told(self, change: PathChange) -> None:
        """Log a change."""
        peer = format_address(change.peer)
        if change.size is None:
            self._reached.discard(change.peer)
            log.warning("a peer is reached over the ordinary network again", peer=peer)
        elif change.peer in self._reached:
            log.info("larger datagrams go over a cable", peer=peer, bytes=change.size)
        else:
            self._reached.add(change.peer)
            log.info("a peer is reached over a cable", peer=peer)
