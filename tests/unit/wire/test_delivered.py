"""The sender is told of each message when it has arrived, or that it may not have: once."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.wire.frames import encode_sack
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import CARRIED, HEADER, RELIABLE, MessageType, encode
from support.links.lossy_relay import ROUGH, Conditions
from support.links.simulated_link import EPOCH, Node, SimulatedLink

LOST = Conditions(loss=1.0)
ONE_DATAGRAM = 1183


def sequences_delivered(node: Node) -> list[int]:
    return [event.sequence for event in node.delivered]


@pytest.mark.parametrize("size", [0, 40, ONE_DATAGRAM, ONE_DATAGRAM + 1, 60_000])
@pytest.mark.parametrize("message_type", sorted(CARRIED))
@pytest.mark.parametrize("keyed", [False, True])
def test_a_message_of_any_type_and_size_is_reported(
    message_type: MessageType, size: int, keyed: bool
) -> None:
    key = ClusterKey(bytes(32)) if keyed else None
    link = SimulatedLink(Conditions(delay=0.02))
    a, b = link.node(key=key), link.node(key=key)
    sequence = a.send(b, bytes(size), message_type)
    link.run(1.0)
    assert [len(payload) for payload in b.payloads] == [size]
    assert [(event.peer, event.sequence) for event in a.delivered] == [(b.address, sequence)]
    assert a.delivered[0].rtt == pytest.approx(0.04)
    assert not b.delivered


def test_a_message_is_reported_when_its_last_piece_has_arrived_and_not_before() -> None:
    link = SimulatedLink()
    a, b = link.node(), link.node()
    sequence = a.send(b, bytes(5000))
    *pieces, last = [datagram for datagram, _ in a.flush() if datagram[0] == MessageType.CHUNK]

    def arrive(datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            b.receive(datagram, a.address)
        for answer, _ in b.flush():
            a.receive(answer, b.address)
        a.flush()

    arrive(pieces)
    assert not a.delivered
    arrive([last])
    assert sequences_delivered(a) == [sequence]


def test_acknowledgements_that_come_again_are_no_news() -> None:
    link = SimulatedLink()
    a, b = link.node(), link.node()
    sequences = [a.send(b, b"small"), a.send(b, bytes(5000))]
    last = sequences[-1] + 4
    a.flush()
    for _ in range(3):
        a.receive(encode_sack([(sequences[0], last)], EPOCH), b.address)
        a.receive(encode(MessageType.ACK, sequences[0], EPOCH), b.address)
        a.flush()
    assert sequences_delivered(a) == sequences


def test_a_message_that_was_sent_twice_has_no_round_trip_time() -> None:
    link = SimulatedLink(LOST)
    a, b = link.node(), link.node()
    sequence = a.send(b, b"once more")
    link.run(0.5)
    link.conditions = Conditions()
    assert link.run(5.0, lambda: bool(a.delivered))
    assert [(event.sequence, event.rtt) for event in a.delivered] == [(sequence, None)]


def test_a_peer_without_extensions_is_believed_too() -> None:
    link = SimulatedLink()
    node = link.node()
    peer = ("10.0.0.9", 9)
    sequence = node.endpoint.send(peer, MessageType.RESULT, b"an answer", link.now)
    node.flush()
    node.receive(encode(MessageType.ACK, sequence or 0, EPOCH), peer)
    node.flush()
    assert sequences_delivered(node) == [sequence]


def test_what_was_given_up_is_not_reported_delivered_afterwards() -> None:
    link = SimulatedLink(LOST)
    a, b = link.node(), link.node()
    a.send(b, b"small")
    a.send(b, bytes(5000))
    a.send(b, bytes(5000), MessageType.HEARTBEAT)
    sent = [HEADER.unpack_from(datagram)[1] for datagram, _ in a.flush()]
    assert link.run(60.0, lambda: bool(a.unreachable))
    assert len(a.unreachable[0].sequences) == 3
    for sequence in sent:
        a.receive(encode_sack([(sequence, sequence)], EPOCH), b.address)
    a.flush()
    assert not a.delivered
    assert len(a.unreachable) == 1


def test_a_heartbeat_of_one_datagram_that_got_lost_is_not_reported_at_all() -> None:
    link = SimulatedLink(LOST)
    a, b = link.node(), link.node()
    a.send(b, b"here", MessageType.HEARTBEAT)
    link.run(60.0)
    link.conditions = Conditions()
    sequence = a.send(b, b"here", MessageType.HEARTBEAT)
    link.run(60.0)
    assert sequences_delivered(a) == [sequence]
    assert not a.unreachable


@settings(max_examples=60)
@given(
    conditions=st.builds(
        Conditions,
        loss=st.floats(0, 0.4),
        delay=st.floats(0, 0.1),
        jitter=st.floats(0, 0.1),
        reorder=st.floats(0, 0.3),
        duplicate=st.floats(0, 0.3),
    ),
    seed=st.integers(0, 1 << 30),
    phases=st.lists(
        st.tuples(
            st.sampled_from(["up", "down", "one way"]),
            st.floats(0.01, 4.0),
            st.lists(
                st.tuples(st.sampled_from(sorted(CARRIED)), st.sampled_from([10, 4000, 30_000])),
                max_size=6,
            ),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_each_message_is_delivered_or_given_up_once(
    conditions: Conditions,
    seed: int,
    phases: list[tuple[str, float, list[tuple[MessageType, int]]]],
) -> None:
    link = SimulatedLink(conditions, seed)
    limits = Limits(give_up=1.0)
    a, b = link.node(limits), link.node(limits)
    sent: dict[int, bytes] = {}
    mere_beats: set[int] = set()
    for way, seconds, messages in phases:
        link.conditions = LOST if way == "down" else conditions
        link.deaf = {a.address} if way == "one way" else set()
        for message_type, size in messages:
            payload = len(sent).to_bytes(4, "big") * (size // 4)
            sequence = a.send(b, payload, message_type)
            assert sequence is not None
            sent[sequence] = payload
            if message_type not in RELIABLE and size < ONE_DATAGRAM:
                mere_beats.add(sequence)
        link.run(seconds)
    link.conditions, link.deaf = conditions, set()
    assert link.run(300.0, a.endpoint.idle)
    link.run(5.0)
    reported = Counter(sequences_delivered(a))
    reported.update(sequence for event in a.unreachable for sequence in event.sequences)
    assert set(reported.values()) <= {1}
    assert sent.keys() - mere_beats <= reported.keys() <= sent.keys()
    assert {sent[sequence] for sequence in sequences_delivered(a)} <= set(b.payloads)


def test_a_flood_over_a_rough_link_is_reported_to_the_last_message() -> None:
    link = SimulatedLink(ROUGH, seed=5)
    a, b = link.node(), link.node()
    sequences = [a.send(b, b"%d" % number) for number in range(3000)]
    assert link.run(60.0, a.endpoint.idle)
    assert len(a.delivered) == len(sequences)
    assert set(sequences_delivered(a)) == set(sequences)
