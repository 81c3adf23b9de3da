"""What a head answers a client that asks for its presence."""

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType


def asked(client):
    client.send(MessageType.HEARTBEAT, b"")
    return pb.Presence.FromString(client.received(MessageType.HEARTBEAT)[-1])


def test_head_answers_with_its_state_and_the_heads_that_workers_name(cluster):
    cluster.worker("a", heads=["192.0.2.10:7717", "[2001:db8::1]:7717"])
    cluster.worker("b", heads=["192.0.2.10:7717"])
    presence = asked(cluster.client())
    assert presence.state == pb.READY
    assert list(presence.heads) == ["192.0.2.10:7717", "[2001:db8::1]:7717"]


def test_clients_that_read_the_answer_as_a_heartbeat_find_the_same_in_it(cluster):
    cluster.worker("a", heads=["192.0.2.10:7717"])
    presence = asked(cluster.client())
    heartbeat = pb.Heartbeat.FromString(presence.SerializeToString())
    assert heartbeat == pb.Heartbeat(
        version=presence.version, state=pb.READY, heads=["192.0.2.10:7717"]
    )


def test_worker_that_has_gone_names_no_heads(cluster):
    worker = cluster.worker("a", heads=["192.0.2.10:7717"])
    worker.say(state=pb.STOPPED)
    assert not asked(cluster.client()).heads


def test_names_nonsense_and_loopback_of_other_machines_are_not_passed_on(cluster):
    cluster.worker("a", heads=["127.0.0.1:7717", "head.example:7717", "nonsense", "192.0.2.9:1"])
    assert list(asked(cluster.client()).heads) == ["192.0.2.9:1"]


def test_loopback_heads_are_told_on_the_same_machine(cluster):
    for member in (worker := cluster.worker("a"), client := cluster.client()):
        del cluster.members[member.address]
        member.address = ("127.0.0.1", member.address[1])
        cluster.members[member.address] = member
    worker.heartbeat.heads.append("127.0.0.1:7719")
    worker.beat()
    assert list(asked(client).heads) == ["127.0.0.1:7719"]
    assert not asked(cluster.client()).heads


def test_only_so_many_heads_are_told_those_most_named(cluster):
    many = [f"192.0.2.{n}:7717" for n in range(1, 41)]
    cluster.worker("a", heads=many)
    cluster.worker("b", heads=many[-1:])
    heads = asked(cluster.client()).heads
    assert len(heads) == 16
    assert heads[0] == many[-1]


def test_head_that_shuts_down_says_so(cluster):
    cluster.core.clients.closed = True
    assert asked(cluster.client()).state == pb.DRAINING


def test_heads_do_not_answer_each_other(cluster):
    client = cluster.client()
    client.send(MessageType.HEARTBEAT, asked(client).SerializeToString())
    assert len(client.received(MessageType.HEARTBEAT)) == 0
    assert cluster.core.statistics.malformed == 1
