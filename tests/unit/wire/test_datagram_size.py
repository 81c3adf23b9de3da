"""Datagrams are large only where that is known to work: on loopback, after a try."""

import pytest

from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import MIB, Limits
from daiic.wire.messages import Address, MessageType
from support.links.lossy_relay import Conditions
from support.links.simulated_link import Node, SimulatedLink

LOOPBACK = Conditions(delay=0.001, largest=65_507)
PATH_MTU = Limits().path_mtu
LOOPBACK_MTU = Limits().loopback_mtu


class Observed(SimulatedLink):
    """A link that notes the type and the size of every datagram that is sent over it."""

    def __init__(self, conditions: Conditions, host: str) -> None:
        super().__init__(conditions, host=host)
        self.sizes: list[tuple[int, int]] = []

    def carry(self, datagram: bytes, sender: Address, to: Address) -> None:
        self.sizes.append((datagram[0], len(datagram)))
        super().carry(datagram, sender, to)

    def largest(self) -> int:
        """Return the size of the largest datagram but for PINGs, and begin again."""
        sizes, self.sizes = self.sizes, []
        return max(size for message_type, size in sizes if message_type != MessageType.PING)

    def transfer(self, a: Node, b: Node, size: int = MIB) -> None:
        payload = bytes(range(256)) * (size // 256)
        a.send(b, payload)
        assert self.run(60.0, a.endpoint.idle)
        assert b.payloads[-1] == payload


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
@pytest.mark.parametrize("key", [None, ClusterKey(bytes(32))], ids=["plain", "sealed"])
def test_loopback_gets_large_datagrams_once_one_has_passed(
    host: str, key: ClusterKey | None
) -> None:
    link = Observed(LOOPBACK, host)
    a, b = link.node(key=key), link.node(key=key)
    a.send(b, bytes(MIB))
    link.run(0.0015)
    assert link.largest() == PATH_MTU
    assert link.run(60.0, a.endpoint.idle)
    link.transfer(a, b)
    assert link.largest() == LOOPBACK_MTU
    link.transfer(a, b, 2048)
    assert 2048 < link.largest() < PATH_MTU * 2, "what fits such a datagram is not cut"
    b.send(a, bytes(MIB))
    link.run(0.0015)
    assert link.largest() == PATH_MTU, "each side finds out for itself"


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "fe80::1%eth0", "2001:db8::1"])
def test_other_machines_get_small_ones_and_no_large_ping(host: str) -> None:
    link = Observed(LOOPBACK, host)
    a, b = link.node(), link.node()
    for _ in range(2):
        link.transfer(a, b)
        assert {message_type for message_type, _ in link.sizes}.isdisjoint({MessageType.PING})
        assert link.largest() == PATH_MTU


def test_forwarder_on_loopback_that_drops_large_datagrams_costs_one_now_and_then() -> None:
    link = Observed(Conditions(delay=0.001), "127.0.0.1")
    a, b = link.node(), link.node()
    began = link.now
    for _ in range(50):
        link.transfer(a, b, 4096)
    assert link.now - began < 1.0
    pings = [size for message_type, size in link.sizes if message_type == MessageType.PING]
    assert pings == [LOOPBACK_MTU]
    assert link.largest() == PATH_MTU
    link.run(30.0)
    link.conditions = LOOPBACK
    link.transfer(a, b)
    link.transfer(a, b)
    assert link.largest() == LOOPBACK_MTU, "it is tried again later"


def test_large_datagrams_that_get_lost_come_again() -> None:
    link = Observed(LOOPBACK, "127.0.0.1")
    a, b = link.node(), link.node()
    link.transfer(a, b)
    link.conditions = Conditions(
        loss=0.1, delay=0.002, reorder=0.1, duplicate=0.1, largest=LOOPBACK.largest
    )
    for _ in range(5):
        link.transfer(a, b, 8 * MIB)
    assert link.largest() == LOOPBACK_MTU
    assert a.endpoint.counters.retransmissions > 20
    assert len(b.messages) == 6
