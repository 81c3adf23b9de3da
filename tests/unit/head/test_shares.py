"""Clients share the workers and the queue, whatever one of them sends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.head.clients import host_of
from daiic.wire import daiic_pb2 as pb
from daiic.work import WORK


def serve(worker, count):
    """Answer as many tasks, one after the other; return what they asked."""
    prompts = []
    for _ in range(count):
        for task in worker.tasks():
            prompts.append(task.text.prompt)
            worker.answer(task)
    return prompts


def ask(sender, name, count=1, model="m", seconds=1, **fields):
    """Send tasks that cost as many `seconds` of a worker, more or less."""
    tokens = int(seconds * WORK["text"].usual_rate)
    text = pb.TextTask(prompt=name, max_tokens=tokens)
    return [sender.ask(model, text=text, **fields) for _ in range(count)]


def test_flood_leaves_another_client_its_share(new_cluster):
    cluster = new_cluster(queue_size=5000)
    worker = cluster.worker(slots=1)
    ask(cluster.client(), "flood", 3000)
    ask(cluster.client(), "other", 13)
    assert serve(worker, 27).count("other") == 13


def test_flood_for_another_model_leaves_a_client_its_share(cluster):
    worker = cluster.worker(slots=2, models=("a", "b"))
    ask(cluster.client(), "flood", 80, "a")
    ask(cluster.client(), "other", 10, "b")
    assert serve(worker, 11).count("other") == 10


def test_share_is_of_what_tasks_cost_not_of_their_number(cluster):
    worker = cluster.worker(slots=1)
    ask(cluster.client(), "long", 20, seconds=10)
    ask(cluster.client(), "short", 50, seconds=1)
    served = serve(worker, 44)
    assert served.count("long") == pytest.approx(4, abs=1)


def test_users_of_one_client_share_its_share_and_names_gain_nothing(cluster):
    worker = cluster.worker(slots=1)
    gateway, direct = cluster.client("192.0.2.10"), cluster.client("192.0.2.11")
    ask(gateway, "busy", 40, client="a")
    for number in range(20):
        ask(direct, "direct", client=f"name {number}")
    ask(gateway, "quiet", 5, client="b")
    served = serve(worker, 21)[1:]
    assert [served.count(name) for name in ("direct", "busy", "quiet")] == [10, 5, 5]


def test_ports_of_one_host_gain_nothing_against_another_host(cluster):
    worker = cluster.worker(slots=1)
    for _ in range(20):
        ask(cluster.client("192.0.2.10"), "ports", 2)
    ask(cluster.client("192.0.2.11"), "other", 10)
    assert serve(worker, 21)[1:].count("other") == 10


def test_who_comes_late_has_saved_up_nothing(cluster):
    worker = cluster.worker(slots=1)
    early, late = cluster.client(), cluster.client()
    ask(late, "late")
    serve(worker, 1)
    ask(early, "early", 40)
    serve(worker, 20)
    ask(late, "late", 10)
    assert serve(worker, 10).count("early") == 5


def test_one_at_a_time_pays_for_its_long_tasks(cluster):
    """Who leaves the queue between two tasks does not leave a debt behind."""
    worker = cluster.worker(slots=1)
    many, single = cluster.client(), cluster.client()
    ask(many, "many", 60)
    served = []
    for _ in range(50):
        if not served or served[-1] == "single":
            ask(single, "single", seconds=10)
        served += serve(worker, 1)
    assert served.count("single") <= 6


def test_task_that_lost_its_worker_waits_for_no_turn(cluster):
    lost, client = cluster.worker("lost", slots=1), cluster.client()
    ask(client, "begun")
    ask(cluster.client(), "other", 5)
    other = cluster.worker("other", slots=1)
    serve(other, 1)
    lost.unreachable()
    assert serve(other, 2)[1] == "begun"


def test_full_queue_refuses_who_has_most_in_it_and_takes_in_others(new_cluster):
    cluster = new_cluster(queue_size=10)
    worker = cluster.worker(slots=1)
    flood, other = cluster.client("192.0.2.10"), cluster.client("192.0.2.11")
    sent = ask(flood, "flood", 12)
    assert [error.id for error in flood.errors()] == sent[11:]
    ask(other, "other", 5)
    assert [error.id for error in flood.errors()] == sent[10:5:-1]
    assert not other.errors()
    (refused,) = ask(other, "other")
    error = other.error()
    assert (error.id, error.code) == (refused, pb.QUEUE_FULL)
    assert serve(worker, 11).count("other") == 5


def test_users_of_one_gateway_share_its_places_in_a_full_queue(new_cluster):
    cluster = new_cluster(queue_size=6)
    cluster.worker(slots=1)
    gateway = cluster.client()
    sent = ask(gateway, "flood", 7, client="flood")
    ask(gateway, "other", 3, client="other")
    assert [error.id for error in gateway.errors()] == sent[:3:-1]
    assert gateway.status().queued == 6


def test_workers_are_not_told_who_asks(cluster):
    worker, client = cluster.worker(), cluster.client()
    ask(client, "x", client="somebody")
    assert not worker.task().client


@pytest.mark.parametrize(
    "address, host",
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3::4", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
    ],
)
def test_host_of_an_address(address, host):
    assert host_of(address) == host


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 8)),
        min_size=8, max_size=60,
    )
)  # fmt: skip
def test_who_always_waits_is_served_no_less_than_another_but_for_one_task(tasks):
    """The bound of start-time fair queueing, at every moment, for hosts and within them."""
    from unit.head.conftest import Cluster

    cluster = Cluster()
    worker = cluster.worker(slots=1)
    clients = {}
    left, served, largest = {}, {}, 0
    ask(cluster.client("192.0.2.99"), "first")  # until it is answered, all others wait
    for host, user, seconds in tasks:
        client = clients.setdefault(host, cluster.client(f"192.0.2.{host}"))
        ask(client, f"{host} {user} {seconds}", seconds=seconds, client=str(user))
        for party in ((host,), (host, user)):
            left[party] = left.get(party, 0) + 1
            served[party] = 0.0
        largest = max(largest, seconds + 1)
    serve(worker, 1)
    for _ in tasks:
        host, user, seconds = map(int, serve(worker, 1)[0].split())
        for party in ((host,), (host, user)):
            left[party] -= 1
            served[party] += seconds
        for one in left:
            for other in left:
                alike = len(one) == len(other) and one[:-1] == other[:-1]
                if alike and left[one] and left[other]:
                    assert served[one] - served[other] <= 2 * largest


def test_weight_gains_nothing_against_another_host(cluster):
    worker = cluster.worker(slots=1)
    ask(cluster.client("192.0.2.10"), "heavy", 20, client="a", weight=1000)
    ask(cluster.client("192.0.2.11"), "other", 10, client="b", weight=1)
    assert serve(worker, 21)[1:].count("other") == 10
