"""A peer that is reached another way keeps its messages, and what has been cut stays so."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import MIB, Limits
from daiic.wire.links import Links, LinksUnusable
from daiic.wire.messages import PATH, Address
from support.links.lossy_relay import Conditions
from support.links.simulated_link import Node, SimulatedLink

LARGEST = 65_474
PATH_MTU = Limits().path_mtu
KEYS = pytest.mark.parametrize("key", [None, ClusterKey(bytes(32))], ids=["plain", "sealed"])


class Ways(SimulatedLink):
    """A cable beside a network: what goes over it while it is `out` is lost."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(Conditions(delay=0.002, largest=65_507), seed)
        self.out = False
        self.cable = False
        self.sizes: list[int] = []

    def carry(self, datagram: bytes, sender: Address, to: Address) -> None:
        self.sizes.append(len(datagram))
        if not (self.cable and self.out):
            super().carry(datagram, sender, to)

    def use(self, cable: bool, *nodes: Node) -> None:
        """Have all of two nodes' datagrams go over the cable, or over the network."""
        self.cable = cable
        for node, other in (nodes, reversed(nodes)):
            node.endpoint.set_path(other.address, LARGEST if cable else None, self.now)

    def largest(self) -> int:
        """Return the size of the largest datagram, and begin again."""
        largest = max(self.sizes)
        self.sizes.clear()
        return largest


@KEYS
def test_what_was_under_way_on_a_cable_goes_again_over_the_network(key: ClusterKey | None) -> None:
    ways = Ways()
    a, b = ways.node(key=key), ways.node(key=key)
    ways.use(True, a, b)
    payloads = [bytes([number]) * size for number, size in enumerate((10, 5000, MIB, 3 * MIB))]
    for payload in payloads:
        a.send(b, payload)
    ways.run(0.015)
    assert ways.largest() == LARGEST
    ways.out = True
    ways.run(0.05)
    assert len(b.payloads) < len(payloads)
    ways.sizes.clear()
    ways.use(False, a, b)
    begun = ways.now
    ways.run(0.05)
    assert ways.sizes, "what was under way goes again at once"
    assert ways.run(30.0, a.endpoint.idle)
    assert sorted(b.payloads) == sorted(payloads)
    assert ways.now - begun < 1.0, "it does not wait for timeouts that grew while the cable was out"
    ways.sizes.clear()
    a.send(b, payloads[2])
    assert ways.run(30.0, a.endpoint.idle)
    assert ways.largest() == PATH_MTU, "what is cut for the network fits it"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.booleans())
def test_every_message_arrives_once_however_often_the_path_changes(seed: int, keyed: bool) -> None:
    dice, ways = random.Random(seed), Ways(seed)
    key = ClusterKey(bytes(32)) if keyed else None
    a, b = ways.node(key=key), ways.node(key=key)
    sent: list[bytes] = []
    for number in range(12):
        payload = number.to_bytes(2, "big") * dice.randrange(1, 100_000)
        sent.append(payload)
        a.send(b, payload)
        if dice.random() < 0.5:
            ways.out = False
            ways.use(not ways.cable, a, b)
        ways.run(dice.random() / 20)
        ways.out = dice.random() < 0.5
    ways.use(False, a, b)
    assert ways.run(60.0, a.endpoint.idle)
    assert sorted(b.payloads) == sorted(sent) and not a.unreachable


def test_a_peer_that_is_new_on_a_cable_gets_large_datagrams_at_once() -> None:
    ways = Ways()
    a, b = ways.node(), ways.node()
    ways.use(True, a, b)
    a.endpoint.forget(b.address)
    a.send(b, bytes(MIB))
    ways.run(0.001)
    assert ways.largest() == LARGEST


@KEYS
def test_messages_about_paths_reach_only_those_who_take_them(key: ClusterKey | None) -> None:
    ways = Ways()
    a, b = ways.node(key=key), ways.node(key=key)
    for followed in (False, True):
        a.send(b, b"so that they know each other")
        assert ways.run(10.0, a.endpoint.idle)
        dropped = b.endpoint.counters.dropped_unknown_type
        a.endpoint.send_path_message(b.address, b"who are you?", ways.now)
        ways.run(0.1)
        told = b.endpoint.take_path_messages()
        assert told == ([(b"who are you?", a.address)] if followed else [])
        assert b.endpoint.counters.dropped_unknown_type == dropped + (not followed)
    assert PATH == 0x27


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("/no/such/libdcf.so", "cannot be loaded from /no/such/libdcf.so: build it with"),
        ("libc.so.6", "libc.so.6 is no libdcf that knows links: build it with"),
    ],
)
def test_without_a_libdcf_it_is_said_what_to_do(
    library: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAIIC_LIBDCF", library)
    with pytest.raises(LinksUnusable, match=reason):
        Links(None)
