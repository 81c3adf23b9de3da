"""A peer that knows only HEARTBEAT, TASK and RESULT, with or without ACK and PING, is served."""

from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType, encode
from support.links.lossy_relay import Conditions
from support.links.simulated_link import EPOCH, Node, SimulatedLink

CLIENT = ("198.51.100.7", 40000)
BASE = {MessageType.TASK, MessageType.RESULT, MessageType.ACK}


def exchange(head: Node, *datagrams: bytes) -> list[tuple[int, int, bytes]]:
    """Give the head the client's datagrams; return type, sequence, payload of what comes back."""
    for datagram in datagrams:
        head.receive(datagram, CLIENT)
    answers = []
    for datagram, to in head.flush():
        assert to == CLIENT
        message_type, sequence, _, length = HEADER.unpack_from(datagram)
        assert length == len(datagram) - HEADER_SIZE
        answers.append((message_type, sequence, datagram[HEADER_SIZE:]))
    return answers


def answer(head: Node, *results: bytes) -> None:
    for result in results:
        head.endpoint.send(CLIENT, MessageType.RESULT, result, head.link.now)


def test_acknowledgement_and_results_come_in_datagrams_of_their_own() -> None:
    head = SimulatedLink().node()
    head.receive(encode(MessageType.TASK, 1, EPOCH, b"{}"), CLIENT)
    answer(head, b"one", b"two")
    answers = exchange(head)
    assert [(message_type, payload) for message_type, _, payload in answers] == [
        (MessageType.ACK, b""),
        (MessageType.RESULT, b"one"),
        (MessageType.RESULT, b"two"),
    ]
    assert answers[0][1] == 1


def test_several_tasks_at_once_get_an_ack_each() -> None:
    head = SimulatedLink().node()
    answers = exchange(head, *(encode(MessageType.TASK, s, EPOCH, b"{}") for s in (5, 900, 6)))
    assert {(message_type, sequence) for message_type, sequence, _ in answers} == {
        (MessageType.ACK, 5),
        (MessageType.ACK, 900),
        (MessageType.ACK, 6),
    }


def test_a_task_sent_again_is_acknowledged_again_and_runs_once() -> None:
    head = SimulatedLink().node()
    task = encode(MessageType.TASK, 1, EPOCH, b"{}")
    for _ in range(3):
        assert exchange(head, task) == [(MessageType.ACK, 1, b"")]
    assert len(head.messages) == 1


def test_a_result_is_repeated_until_acknowledged() -> None:
    link = SimulatedLink()
    head = link.node()
    exchange(head, encode(MessageType.TASK, 1, EPOCH, b"{}"))
    answer(head, b"done")
    ((_, sequence, _),) = exchange(head)
    link.now += 1.5
    assert exchange(head) == [(MessageType.RESULT, sequence, b"done")]
    assert exchange(head, encode(MessageType.ACK, sequence, EPOCH)) == []
    assert head.endpoint.idle()
    link.now += 60
    assert exchange(head) == []


def test_a_client_that_never_acknowledges_is_given_up_without_harm() -> None:
    link = SimulatedLink()
    head = link.node()
    exchange(head, encode(MessageType.TASK, 1, EPOCH, b"{}"))
    answer(head, b"done")
    link.run(30.0)
    assert [event.peer for event in head.unreachable] == [CLIENT]
    assert head.endpoint.idle()
    assert exchange(head, encode(MessageType.TASK, 2, EPOCH, b"{}")) == [(MessageType.ACK, 2, b"")]


def test_a_client_forgotten_meanwhile_still_gets_its_results_one_by_one() -> None:
    link = SimulatedLink()
    head = link.node(Limits(peer_idle=1.0))
    exchange(head, encode(MessageType.TASK, 1, EPOCH, b"{}"))
    link.run(30.0)
    answer(head, b"one", b"two")
    payloads = [payload for message_type, _, payload in exchange(head) if message_type in BASE]
    assert payloads == [b"one", b"two"]


def test_peers_that_know_the_extensions_share_datagrams() -> None:
    link = SimulatedLink()
    a, b = link.node(), link.node()
    a.send(b, b"first")
    link.run(1.0)
    sent = {node.address: node.endpoint.counters.datagrams_sent for node in (a, b)}
    for number in range(10):
        a.send(b, b"%d" % number)
        b.send(a, b"%d" % number)
    link.run(1.0)
    assert len(a.messages) == 10
    assert len(b.messages) == 11
    assert b.endpoint.counters.frames_sent[MessageType.SACK] > 0
    for node in (a, b):
        assert node.endpoint.counters.datagrams_sent - sent[node.address] <= 2


def test_a_heartbeat_is_acknowledged_and_measured() -> None:
    link = SimulatedLink()
    worker, head = link.node(), link.node()
    sequence = worker.send(head, b"here", MessageType.HEARTBEAT)
    link.run(1.0)
    assert head.payloads == [b"here"]
    (event,) = worker.events
    assert (event.peer, event.sequence) == (head.address, sequence)
    assert worker.endpoint.idle()


def test_a_large_heartbeat_arrives_too() -> None:
    link = SimulatedLink()
    worker, head = link.node(), link.node()
    worker.send(head, bytes(5000), MessageType.HEARTBEAT)
    link.run(1.0)
    assert [(m.message_type, len(m.payload)) for m in head.messages] == [
        (MessageType.HEARTBEAT, 5000)
    ]


def test_any_dcf_node_can_measure_its_distance() -> None:
    head = SimulatedLink().node()
    assert exchange(head, encode(MessageType.PING, 7, 123)) == [(MessageType.PONG, 7, b"")]
    head.receive(encode(MessageType.PING, 8, 123, b"padding"), CLIENT)
    ((pong, _),) = head.flush()
    assert pong == encode(MessageType.PONG, 8, 123)
    assert not head.events


def test_a_flood_of_pings_is_answered_with_no_more_than_it_brought() -> None:
    head = SimulatedLink().node()
    pings = encode(MessageType.PING, 7, 123) * 3000
    head.receive(encode(MessageType.BATCH, 0, EPOCH, pings), CLIENT)
    assert not head.flush()
    for number in range(1000):
        head.receive(encode(MessageType.PING, number, 123), (*CLIENT[:1], number))
    counters = head.endpoint.counters
    assert len(head.flush()) == 1000
    assert counters.bytes_sent == 1000 * HEADER_SIZE
    assert head.endpoint.next_timeout() is None


def test_our_ping_measures_the_round_trip() -> None:
    link = SimulatedLink(Conditions(delay=0.02))
    a, b = link.node(), link.node()
    a.endpoint.ping(b.address, link.now)
    link.run(1.0)
    (event,) = a.events
    assert event.peer == b.address
    assert abs(event.rtt - 0.04) < 1e-6
