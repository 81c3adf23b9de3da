"""Whatever arrives, memory stays within Limits and nothing is raised."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.wire.endpoint import MessageTooLarge
from daiic.wire.frames import CHUNK_HEADER
from daiic.wire.limits import MIB, Limits
from daiic.wire.messages import CONTROL, HEADER, MessageType, encode
from support.links.lossy_relay import Conditions
from support.links.simulated_link import EPOCH, SimulatedLink

SENDER = ("203.0.113.5", 9)
SMALL = Limits(
    max_message=100_000, memory=250_000, peer_memory=150_000, max_peers=8, reassembly_timeout=5.0
)


def chunk(first: int, index: int, total: int, size: int = 1172) -> bytes:
    length = min(size, total - index * size)
    header = CHUNK_HEADER.pack(first, total, size, MessageType.RESULT)
    return encode(MessageType.CHUNK, first + index, EPOCH, header + bytes(length))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 3)), max_size=20))
def test_garbage_never_raises(datagrams: list[tuple[bytes, int]]) -> None:
    node = SimulatedLink().node(SMALL)
    for datagram, source in datagrams:
        node.receive(datagram, ("203.0.113.1", source))
    node.flush()
    assert node.endpoint.counters.datagrams_received == len(datagrams)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(MessageType), st.integers(0, 255)),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 2**64 - 1),
            st.one_of(
                st.binary(max_size=64),
                st.builds(
                    CHUNK_HEADER.pack,
                    st.integers(0, 0xFFFFFFFF),
                    st.integers(0, 200_000),
                    st.integers(250, 1200),
                    st.sampled_from(MessageType),
                ).map(lambda head: head + bytes(300)),
            ),
        ),
        max_size=30,
    )
)
def test_well_formed_headers_with_any_payload_never_raise(
    messages: list[tuple[int, int, int, bytes]],
) -> None:
    link = SimulatedLink()
    node = link.node(SMALL)
    whole = [encode(*message) for message in messages]
    for datagram in [*whole, encode(MessageType.BATCH, 0, EPOCH, b"".join(whole))]:
        node.receive(datagram, SENDER)
        assert node.endpoint.buffered_bytes <= SMALL.memory
    for datagram, _ in node.flush():
        assert len(datagram) == 17 + HEADER.unpack_from(datagram)[3]
    link.run(60.0)
    assert node.endpoint.buffered_bytes == 0


def test_one_peer_cannot_take_all_memory() -> None:
    node = SimulatedLink().node(SMALL)
    for number in range(100):
        node.receive(chunk(1000 * number, 0, 50_000), SENDER)
    assert node.endpoint.buffered_bytes == 150_000
    assert node.endpoint.counters.dropped_over_memory == 97
    node.receive(chunk(0, 0, 50_000), ("203.0.113.6", 9))
    assert node.endpoint.buffered_bytes == 200_000


def test_all_peers_together_stay_under_the_bound() -> None:
    link = SimulatedLink()
    node = link.node(SMALL)
    for number in range(8):
        node.receive(chunk(5, 0, 60_000), ("203.0.113.6", number))
    assert node.endpoint.buffered_bytes == 240_000
    link.run(20.0)
    assert node.endpoint.buffered_bytes == 0
    assert node.endpoint.counters.expired_reassemblies == 4


def test_what_does_not_fit_now_arrives_later() -> None:
    link = SimulatedLink(Conditions(delay=0.005), rate=1e6, queue=50_000)
    sender, receiver = link.node(), link.node(SMALL)
    payloads = [bytes([number]) * 90_000 for number in range(8)]
    for payload in payloads:
        sender.send(receiver, payload)
    peak = 0

    def done() -> bool:
        nonlocal peak
        peak = max(peak, receiver.endpoint.buffered_bytes)
        return sender.endpoint.idle()

    assert link.run(120.0, done)
    assert sorted(receiver.payloads) == payloads
    assert receiver.endpoint.counters.dropped_over_memory > 0
    assert peak <= SMALL.peer_memory


@pytest.mark.parametrize(
    "limits", [SMALL, Limits(memory=90_000), Limits(peer_memory=90_000)], ids=str
)
def test_a_message_larger_than_the_receiver_takes_does_not_block_the_others(
    limits: Limits,
) -> None:
    link = SimulatedLink()
    sender, receiver = link.node(), link.node(limits)
    sender.send(receiver, bytes(100_001))
    sender.send(receiver, b"next")
    assert link.run(60.0, sender.endpoint.idle)
    assert receiver.payloads == [b"next"]
    assert receiver.endpoint.counters.dropped_oversized > 0


@pytest.mark.parametrize("message_type", sorted(CONTROL))
def test_types_that_have_little_to_say_reserve_little_memory(message_type: MessageType) -> None:
    link = SimulatedLink()
    node = link.node()
    header = CHUNK_HEADER.pack(1, Limits().max_control + 1, 1172, message_type)
    node.receive(encode(MessageType.CHUNK, 1, EPOCH, header + bytes(1172)), SENDER)
    assert node.endpoint.buffered_bytes == 0
    assert node.endpoint.counters.dropped_oversized == 1
    with pytest.raises(MessageTooLarge, match="max_control"):
        node.endpoint.send(SENDER, message_type, bytes(Limits().max_control + 1), link.now)


def test_a_message_larger_than_ours_is_refused_with_both_sizes() -> None:
    node = SimulatedLink().node(SMALL)
    with pytest.raises(MessageTooLarge, match=r"100001 bytes exceeds max_message, 100000 bytes"):
        node.endpoint.send(SENDER, MessageType.TASK, bytes(100_001), 0.0)


def test_output_for_which_there_is_no_room_is_refused_at_once_and_costs_no_other() -> None:
    link = SimulatedLink(Conditions(delay=0.01))
    a, b = link.node(SMALL), link.node()
    kept = [a.send(b, bytes(70_000)) for _ in range(2)]
    assert a.send(b, bytes(70_000)) is None
    assert a.endpoint.buffered_bytes == 140_000
    assert link.run(30.0, a.endpoint.idle)
    assert not a.unreachable
    assert {m.sequence for m in b.messages} == set(kept)
    assert a.send(b, bytes(70_000)) is not None
    assert a.endpoint.counters.refused_over_memory == 1


def test_made_up_addresses_do_not_push_out_those_that_answer() -> None:
    link = SimulatedLink()
    node, friend = link.node(SMALL), link.node()
    node.send(friend, b"hello")
    link.run(0.5)
    large = bytes(50_000)
    friend.send(node, large)
    node.receive(friend.flush()[0][0], friend.address)
    for number in range(5000):
        node.receive(encode(MessageType.TASK, 1, EPOCH, b"{}"), ("203.0.113.7", number))
        node.flush()
    assert link.run(10.0, friend.endpoint.idle)
    assert large in node.payloads
    assert node.endpoint.rtt(friend.address) is not None


def test_a_full_house_of_proven_peers_admits_no_stranger() -> None:
    link = SimulatedLink()
    node = link.node(SMALL)
    friends = [link.node() for _ in range(8)]
    for friend in friends:
        node.send(friend, b"hello")
    link.run(1.0)
    node.receive(encode(MessageType.TASK, 1, EPOCH, b"{}"), SENDER)
    assert not node.flush()
    assert node.endpoint.counters.dropped_peer_limit == 1


def test_a_stranger_that_makes_room_has_its_answers_reported() -> None:
    node = SimulatedLink().node(SMALL)
    sequence = node.endpoint.send(SENDER, MessageType.RESULT, b"for nobody", node.link.now)
    for number in range(8):
        node.receive(encode(MessageType.TASK, 1, EPOCH, b"{}"), ("203.0.113.7", number))
    node.flush()
    assert [(event.peer, event.sequences) for event in node.unreachable] == [(SENDER, (sequence,))]
    assert node.endpoint.buffered_bytes == 0


def test_peers_long_unheard_are_forgotten() -> None:
    link = SimulatedLink()
    node = link.node(Limits(peer_idle=10.0))
    node.receive(encode(MessageType.TASK, 1, EPOCH, b"{}"), SENDER)
    link.run(30.0)
    assert node.endpoint.next_timeout() is None


def test_a_sack_of_everything_is_harmless() -> None:
    link = SimulatedLink(Conditions(delay=0.01))
    a, b = link.node(), link.node()
    a.send(b, bytes(MIB))
    link.run(0.05)
    everything = [((s + 1) & 0xFFFFFFFF, s) for s in range(64)]
    payload = b"".join(a.to_bytes(4, "big") + b.to_bytes(4, "big") for a, b in everything)
    a.receive(encode(MessageType.SACK, 0, EPOCH, payload), b.address)
    link.run(60.0)
    assert a.endpoint.buffered_bytes == b.endpoint.buffered_bytes == 0
