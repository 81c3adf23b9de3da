"""Every message arrives exactly once, whatever the link does to its datagrams."""

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.wire.frames import MAX_SACK_RANGES, encode_chunk, encode_sack, ranges_of, split_batch
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType
from daiic.wire.sequence import REMEMBERED, distance
from support.links.lossy_relay import ROUGH, Conditions
from support.links.simulated_link import Node, SimulatedLink

MIB = 1 << 20
MESSAGE_TYPES = [MessageType.TASK, MessageType.RESULT, MessageType.CANCEL, MessageType.ERROR]

share = st.floats(0, 0.3)
any_conditions = st.builds(
    Conditions,
    loss=share,
    delay=st.floats(0, 0.1),
    jitter=st.floats(0, 0.1),
    reorder=share,
    duplicate=share,
)
any_payloads = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.integers(1100, 60_000).map(lambda n: bytes(i % 251 for i in range(n))),
    ),
    min_size=1,
    max_size=12,
)


def assert_all_arrived_once(sender: Node, receiver: Node, sent: dict[int, bytes]) -> None:
    assert {m.sequence: m.payload for m in receiver.messages} == sent
    assert len(receiver.messages) == len(sent)
    assert not sender.unreachable
    assert sender.endpoint.buffered_bytes == receiver.endpoint.buffered_bytes == 0


@settings(max_examples=60)
@given(
    conditions=any_conditions,
    seed=st.integers(0, 1 << 30),
    payloads=any_payloads,
    start=st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0xFFFFFFC0, 0xFFFFFFFF)),
    keyed=st.booleans(),
)
def test_every_message_arrives_exactly_once(
    conditions: Conditions, seed: int, payloads: list[bytes], start: int, keyed: bool
) -> None:
    link = SimulatedLink(conditions, seed)
    key = ClusterKey(bytes(32)) if keyed else None
    # Who never gives up may be silent for longer than a receiver usually keeps what is not whole.
    limits = Limits(give_up=1e6, reassembly_timeout=1e6)
    with patch("random.getrandbits", return_value=start):
        a, b = link.node(limits, key), link.node(limits, key)
        there = {a.send(b, p, MESSAGE_TYPES[i % 4]): p for i, p in enumerate(payloads)}
        back = {b.send(a, p, MESSAGE_TYPES[i % 4]): p for i, p in enumerate(reversed(payloads))}
    both_idle = lambda: a.endpoint.idle() and b.endpoint.idle()  # noqa: E731
    assert link.run(300.0, both_idle)
    link.run(1.0)
    assert_all_arrived_once(a, b, there)
    assert_all_arrived_once(b, a, back)


@settings(max_examples=60)
@given(
    data=st.data(),
    length=st.integers(1, 20_000),
    size=st.integers(256, 1172),
    first=st.integers(0, 0xFFFFFFFF),
)
def test_chunks_make_the_message_in_any_order_and_number(
    data: st.DataObject, length: int, size: int, first: int
) -> None:
    link = SimulatedLink()
    a, b = link.node(), link.node()
    payload = bytes(i % 253 for i in range(length))
    indices = range(-(-length // size))
    again = data.draw(st.lists(st.sampled_from(indices)))
    order = data.draw(st.permutations([*indices, *again]))
    for index in order:
        b.receive(encode_chunk(first, index, 2, memoryview(payload), size, 0), a.address)
    b.flush()
    assert b.payloads == [payload]
    assert b.endpoint.buffered_bytes == 0
    assert b.endpoint.counters.duplicates == len(again)


def test_64_mib_arrive_whole_over_a_rough_link() -> None:
    link = SimulatedLink(ROUGH)
    a, b = link.node(), link.node()
    payload = bytes(range(256)) * (64 * MIB // 256)
    a.send(b, payload, MessageType.RESULT)
    peak = 0

    def arrived() -> bool:
        nonlocal peak
        peak = max(peak, b.endpoint.buffered_bytes)
        return bool(b.messages)

    began = link.now
    assert link.run(60.0, arrived)
    assert b.payloads == [payload]
    assert peak == len(payload)
    assert link.now - began < 3
    assert link.run(5.0, a.endpoint.idle)
    assert a.endpoint.buffered_bytes == 0


def test_sequences_wrap_under_load() -> None:
    link = SimulatedLink(ROUGH, seed=3)
    with patch("random.getrandbits", return_value=0xFFFFFFFF - 1500):
        a, b = link.node(), link.node()
        sent = {a.send(b, b"%d" % number): b"%d" % number for number in range(3000)}
    assert 0 in sent
    assert link.run(60.0, a.endpoint.idle)
    assert_all_arrived_once(a, b, sent)


def tasks_in(datagram: bytes) -> list[int]:
    """Return the sequences of the TASKs in a datagram."""
    messages = [(*HEADER.unpack_from(datagram), b"")]
    if datagram[0] == MessageType.BATCH:
        messages = split_batch(datagram[HEADER_SIZE:]) or []
    return [message[1] for message in messages if message[0] == MessageType.TASK]


def test_a_sender_waits_before_the_receiver_could_forget_what_it_may_repeat() -> None:
    link = SimulatedLink()
    a, b = link.node(), link.node()
    stuck = a.send(b, b"its acknowledgements get lost")
    for number in range(REMEMBERED):
        a.send(b, b"%d" % number)
    sent: set[int] = set()

    def go_on(seconds: float, without: int | None) -> None:
        end = link.now + seconds
        while link.now < end:
            link.now += 0.01
            now_sent = {sequence for d, _ in a.flush() for sequence in tasks_in(d)}
            sent.update(now_sent)
            ranges = ranges_of(now_sent - {without})
            for start in range(0, len(ranges), MAX_SACK_RANGES):
                sack = encode_sack(ranges[start : start + MAX_SACK_RANGES], 0)
                a.receive(sack, b.address)

    go_on(5.0, without=stuck)
    assert max(distance(stuck, sequence) for sequence in sent) == REMEMBERED // 2 - 1
    go_on(5.0, without=None)
    assert len(sent) == REMEMBERED + 1
    assert a.endpoint.idle()


def test_small_messages_overtake_a_large_one() -> None:
    link = SimulatedLink(Conditions(delay=0.01), rate=2e6, queue=64 << 10)
    a, b = link.node(), link.node()
    a.send(b, bytes(4 * MIB), MessageType.RESULT)
    link.run(0.5)
    began = link.now
    a.send(b, b"a token", MessageType.RESULT)
    assert link.run(60.0, lambda: bool(b.messages))
    assert b.payloads == [b"a token"]
    assert link.now - began < 0.1


def test_large_messages_to_one_peer_take_turns() -> None:
    link = SimulatedLink(Conditions(delay=0.005), rate=5e6, queue=128 << 10)
    a, b = link.node(), link.node()
    a.send(b, bytes(8 * MIB))
    a.send(b, bytes(MIB))
    assert link.run(60.0, lambda: bool(b.messages))
    assert len(b.payloads[0]) == MIB


def test_a_late_duplicate_of_a_whole_large_message_is_known() -> None:
    link = SimulatedLink()
    a, b = link.node(), link.node()
    a.send(b, bytes(5000))
    datagrams = a.flush()
    for datagram, _ in datagrams * 2:
        b.receive(datagram, a.address)
    b.flush()
    assert len(b.messages) == 1
    assert b.endpoint.buffered_bytes == 0
    assert b.endpoint.counters.duplicates == sum(d[0] == MessageType.CHUNK for d, _ in datagrams)


def test_the_peer_may_restart_in_the_middle_of_a_large_message() -> None:
    limits = Limits(reassembly_timeout=5.0)
    link = SimulatedLink(Conditions(delay=0.01), rate=1e6, queue=64 << 10)
    a, b = link.node(), link.node(limits)
    a.send(b, bytes(MIB))
    assert link.run(10.0, lambda: b.endpoint.counters.frames_received[MessageType.CHUNK] > 99)
    again = link.restart(b, limits)
    a.send(again, b"afterwards")
    assert link.run(30.0, a.endpoint.idle)
    link.run(60.0)
    assert again.payloads == [b"afterwards"]
    assert again.endpoint.buffered_bytes == 0
    assert again.endpoint.counters.expired_reassemblies == 1


def test_a_restarted_sender_is_heard_at_once() -> None:
    link = SimulatedLink()
    a, b = link.node(), link.node()
    a.send(b, bytes(3000))
    half = a.flush()[:2]
    for datagram, _ in half:
        b.receive(datagram, a.address)
    again = link.restart(a)
    again.send(b, b"x" * 3000)
    assert link.run(5.0, again.endpoint.idle)
    assert b.payloads == [b"x" * 3000]


def test_a_lone_message_to_nobody_is_given_up_and_reported() -> None:
    link = SimulatedLink(Conditions(loss=1.0))
    a, b = link.node(), link.node()
    sequence = a.send(b, b"anybody?")
    began = link.now
    assert link.run(60.0, lambda: bool(a.unreachable))
    assert a.unreachable[0].peer == b.address
    assert a.unreachable[0].sequences == (sequence,)
    assert Limits().give_up <= link.now - began < Limits().give_up + 0.5
    assert a.endpoint.buffered_bytes == 0
    assert a.endpoint.idle()
    assert a.endpoint.counters.unreachable == 1


def test_everything_that_waits_is_reported_when_the_peer_goes_silent() -> None:
    link = SimulatedLink(Conditions(delay=0.01))
    a, b = link.node(), link.node()
    sequences = {a.send(b, b"small"), a.send(b, bytes(9 * MIB))}
    link.run(0.005)
    link.conditions = Conditions(loss=1.0)
    sequences |= {a.send(b, b"%d" % i) for i in range(3000)}
    link.run(20.0)
    (event,) = a.unreachable
    assert set(event.sequences) <= sequences
    assert len(event.sequences) >= 3001
    assert len(set(event.sequences)) == len(event.sequences)
    assert a.endpoint.buffered_bytes == 0


def test_a_peer_that_was_given_up_can_be_written_to_again() -> None:
    link = SimulatedLink(Conditions(loss=1.0))
    a, b = link.node(), link.node()
    a.send(b, b"lost")
    assert link.run(60.0, lambda: bool(a.unreachable))
    link.conditions = Conditions()
    a.send(b, b"found")
    assert link.run(5.0, a.endpoint.idle)
    assert b.payloads == [b"found"]


def test_an_outage_shorter_than_give_up_loses_nothing() -> None:
    link = SimulatedLink(Conditions(delay=0.005))
    a, b = link.node(), link.node()
    sent = {a.send(b, b"%d" % i): b"%d" % i for i in range(50)}
    large = bytes(2 * MIB)
    sent[a.send(b, large)] = large
    link.run(0.012)
    link.conditions = Conditions(loss=1.0)
    link.run(Limits().give_up - 4.5)
    link.conditions = Conditions(delay=0.005)
    assert link.run(30.0, a.endpoint.idle)
    assert_all_arrived_once(a, b, sent)


def test_a_forgotten_peer_costs_nothing_and_stays_quiet() -> None:
    link = SimulatedLink(Conditions(delay=0.01), rate=1e6, queue=64 << 10)
    a, b = link.node(), link.node()
    a.send(b, bytes(MIB))
    b.send(a, bytes(MIB))
    link.run(0.3)
    a.endpoint.forget(b.address)
    assert a.endpoint.buffered_bytes == 0
    assert a.endpoint.idle()
    link.run(60.0)
    assert not a.messages
    assert not a.unreachable
    assert a.endpoint.buffered_bytes == b.endpoint.buffered_bytes == 0


@pytest.mark.parametrize("size", [0, 1, 1182, 1183, 1184, 2344, 2345])
@pytest.mark.parametrize("keyed", [False, True])
def test_sizes_at_the_edges_of_a_datagram(size: int, keyed: bool) -> None:
    key = ClusterKey(bytes(32)) if keyed else None
    link = SimulatedLink()
    a, b = link.node(key=key), link.node(key=key)
    payload = bytes(i % 256 for i in range(size))
    a.send(b, payload)
    for datagram, to in a.flush():
        assert len(datagram) <= Limits().path_mtu
        link.nodes[to].receive(datagram, a.address)
    b.flush()
    assert b.payloads == [payload]
