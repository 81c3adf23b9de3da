"""Without a key, an address gets three times what came from it until it shows that it receives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.wire.credit import GREET_AGAIN
from daiic.wire.frames import encode_sack
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType, encode
from support.links.lossy_relay import ROUGH, Conditions
from support.links.simulated_link import EPOCH, Node, SimulatedLink

VICTIM = ("203.0.113.9", 53)
TASK = encode(MessageType.TASK, 1, EPOCH, bytes(40))
FACTOR = Limits().amplification


class Attacker:
    """Sends to a daemon in the victim's name, and counts both ways."""

    def __init__(self, link: SimulatedLink, daemon: Node) -> None:
        self.link, self.daemon = link, daemon
        self.sent = self.reflected = 0

    def send(self, datagram: bytes) -> None:
        self.sent += len(datagram)
        self.daemon.receive(datagram, VICTIM)

    def look(self) -> None:
        for datagram, to in self.daemon.flush():
            assert to == VICTIM
            self.reflected += len(datagram)


@pytest.fixture
def attacker() -> Attacker:
    link = SimulatedLink()
    return Attacker(link, link.node(validate_addresses=True))


def answer(daemon: Node, size: int) -> None:
    daemon.endpoint.send(VICTIM, MessageType.RESULT, bytes(size), daemon.link.now)


def over_a_minute(attacker: Attacker) -> None:
    end = attacker.link.now + 60
    looks = 0
    while (at := attacker.daemon.endpoint.next_timeout()) is not None and at <= end:
        attacker.link.now = max(at, attacker.link.now)
        attacker.look()
        looks += 1
        assert looks < 1000, "an endpoint asks to be called again and again"


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("answer"), st.integers(0, 20_000)),
            st.tuples(st.just("presence"), st.integers(0, 1000)),
            st.tuples(st.just("send"), st.integers(0, 255)),
            st.tuples(st.just("batch"), st.integers(1, 60)),
            st.tuples(st.just("wait"), st.integers(1, 3000)),
        ),
        max_size=30,
    )
)
def test_nobody_is_sent_more_than_three_times_what_came_in_his_name(
    steps: list[tuple[str, int]],
) -> None:
    link = SimulatedLink()
    attacker = Attacker(link, link.node(validate_addresses=True))
    for number, (what, value) in enumerate(steps):
        if what == "answer":
            answer(attacker.daemon, value)
        elif what == "presence":
            attacker.daemon.endpoint.send(VICTIM, MessageType.HEARTBEAT, bytes(value), link.now)
        elif what == "send":
            attacker.send(encode(value, number, EPOCH, b""))
        elif what == "batch":
            beats = encode(MessageType.HEARTBEAT, number, EPOCH) * value
            attacker.send(encode(MessageType.BATCH, 0, EPOCH, beats))
        else:
            link.now += value / 1000
        attacker.look()
        assert attacker.reflected <= FACTOR * attacker.sent
    over_a_minute(attacker)
    assert attacker.reflected <= FACTOR * attacker.sent


def test_answer_that_is_held_back_goes_when_a_ping_is_answered(attacker: Attacker) -> None:
    attacker.send(TASK)
    answer(attacker.daemon, 5000)
    (ack, _), (ping, _) = attacker.daemon.flush()
    assert (ack[0], ping[0]) == (MessageType.ACK, MessageType.PING)
    attacker.send(encode(MessageType.PONG, HEADER.unpack_from(ping)[1], EPOCH))
    assert sum(len(datagram) for datagram, _ in attacker.daemon.flush()) > 5000


def test_answer_within_the_credit_needs_no_ping(attacker: Attacker) -> None:
    attacker.send(TASK)
    answer(attacker.daemon, 60)
    assert [d[0] for d, _ in attacker.daemon.flush()] == [MessageType.ACK, MessageType.RESULT]


def test_ping_for_what_is_held_back_is_repeated(attacker: Attacker) -> None:
    attacker.send(TASK)
    answer(attacker.daemon, 5000)
    attacker.daemon.flush()
    for _ in range(3):
        attacker.link.now += GREET_AGAIN
        assert attacker.daemon.endpoint.next_timeout() <= attacker.link.now
        assert [d[0] for d, _ in attacker.daemon.flush()] == [MessageType.PING]


def test_address_without_credit_left_costs_no_more_than_a_look_now_and_then(
    attacker: Attacker,
) -> None:
    attacker.send(encode(MessageType.TASK, 1, EPOCH))
    answer(attacker.daemon, 5000)
    over_a_minute(attacker)
    assert attacker.daemon.unreachable


def test_address_that_acknowledges_nothing_is_given_up_while_something_is_held_back(
    attacker: Attacker,
) -> None:
    answer(attacker.daemon, 0)
    answer(attacker.daemon, 13)
    beats = encode(MessageType.HEARTBEAT, 2, EPOCH) * 6
    attacker.send(encode(MessageType.BATCH, 0, EPOCH, beats))
    attacker.look()
    over_a_minute(attacker)
    assert attacker.daemon.unreachable


def test_who_acknowledges_everything_has_shown_nothing(attacker: Attacker) -> None:
    attacker.send(TASK)
    answer(attacker.daemon, 60)
    answer(attacker.daemon, 5000)
    attacker.look()
    everything = encode_sack([(0, 0x7FFFFFFF), (0x80000000, 0xFFFFFFFF)], EPOCH)
    attacker.send(everything)
    over_a_minute(attacker)
    assert attacker.reflected <= FACTOR * attacker.sent


def test_client_whose_answer_is_never_wanted_is_given_up_and_may_ask_again(
    attacker: Attacker,
) -> None:
    attacker.send(TASK)
    answer(attacker.daemon, 5000)
    over_a_minute(attacker)
    assert [event.peer for event in attacker.daemon.unreachable] == [VICTIM]
    assert attacker.daemon.endpoint.buffered_bytes == 0
    attacker.send(TASK)
    attacker.look()
    assert len(attacker.daemon.messages) == 2


def test_stranger_that_makes_room_for_another_is_reported_before_he_is_answered() -> None:
    link = SimulatedLink()
    daemon = link.node(Limits(max_peers=1), validate_addresses=True)
    daemon.receive(TASK, VICTIM)
    daemon.receive(TASK, ("203.0.113.10", 53))
    daemon.flush()
    assert [event.peer for event in daemon.unreachable] == [VICTIM]
    answer(daemon, 5000)
    assert not daemon.flush()


@pytest.mark.parametrize("conditions", [Conditions(delay=0.02), ROUGH], ids=["clean", "rough"])
def test_honest_client_gets_a_large_answer(conditions: Conditions) -> None:
    link = SimulatedLink(conditions, seed=3)
    client, daemon = link.node(), link.node(validate_addresses=True)
    client.send(daemon, b"{}")
    assert link.run(30.0, lambda: bool(daemon.messages))
    daemon.send(client, bytes(300_000), MessageType.RESULT)
    began = link.now
    assert link.run(60.0, lambda: bool(client.messages))
    if conditions.loss == 0:  # one round trip for the proof, and slow start
        assert link.now - began < 0.5


def test_trusted_address_and_one_with_the_key_are_sent_to_without_reserve() -> None:
    link = SimulatedLink()
    worker = link.node(validate_addresses=True)
    worker.endpoint.trust([VICTIM])
    answer(worker, 5000)
    assert sum(len(datagram) for datagram, _ in worker.flush()) > 5000
    sealed = link.node(validate_addresses=True, key=ClusterKey(bytes(32)))
    answer(sealed, 5000)
    assert sum(len(datagram) for datagram, _ in sealed.flush()) > 5000


def test_ping_of_a_stranger_costs_no_more_than_it_brought(attacker: Attacker) -> None:
    attacker.send(encode(MessageType.PING, 1, EPOCH))
    attacker.look()
    assert attacker.reflected == HEADER_SIZE
