"""So much waits to be acknowledged that a message has no room: what becomes of its task."""

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.endpoint import MessageTooLarge
from daiic.wire.messages import MessageType


def small_ones_only(kind, payload):
    return len(payload) < 1000


@pytest.mark.rule("unsendable")
def test_answer_without_room_ends_its_own_task_with_an_error(cluster):
    worker, client = cluster.worker(), cluster.client()
    asked = [client.ask(stream=True) for _ in range(2)]
    too_much, other = worker.tasks()
    worker.answer(too_much, 0, text="begun", final=False)
    cluster.has_room = small_ones_only
    worker.answer(too_much, 1, text="x" * 2000, final=False)
    error = client.error()
    assert (error.id, error.code) == (asked[0], pb.QUEUE_FULL)
    assert error.message and error.remedy
    assert worker.cancelled() == [too_much.id]
    worker.answer(too_much, 2, text="late")
    worker.answer(other, 0, text="done")
    assert [(r.id, r.text) for r in client.results()] == [(asked[0], "begun"), (asked[1], "done")]


def test_last_part_without_room_ends_its_task_with_an_error(cluster):
    worker, client = cluster.worker(), cluster.client()
    asked = client.ask()
    cluster.has_room = small_ones_only
    worker.answer(worker.task(), text="x" * 2000)
    assert (client.error().id, client.results()) == (asked, [])
    status = client.status()
    assert (status.in_flight, status.queued) == (0, 0)


@pytest.mark.rule("unsendable")
def test_answer_too_large_for_a_message_ends_its_task_with_an_error(cluster):
    def send(kind, payload):
        if len(payload) > 1000:
            raise MessageTooLarge("a message of 2000 bytes exceeds 1000")
        return True

    worker, client = cluster.worker(), cluster.client()
    asked = client.ask()
    cluster.has_room = send
    worker.answer(worker.task(), text="x" * 2000)
    error = client.error()
    assert (error.id, error.code) == (asked, pb.BAD_REQUEST)
    assert "2000 bytes" in error.message
    assert client.status().in_flight == 0


def test_task_waits_for_room_to_be_sent_to_a_worker(cluster):
    worker, client = cluster.worker(), cluster.client()
    cluster.has_room = lambda kind, payload: kind != MessageType.TASK
    asked = [client.ask(), client.ask()]
    cluster.pass_time(1.0)
    assert not worker.tasks()
    assert client.status().queued == 2
    cluster.has_room = lambda kind, payload: True
    cluster.pass_time(0.2)
    for task in worker.tasks():
        worker.answer(task, text="done")
    assert [result.id for result in client.results()] == asked


def test_client_that_could_not_be_told_may_ask_again(cluster):
    worker, client = cluster.worker(), cluster.client()
    asked = client.ask()
    cluster.has_room = lambda kind, payload: kind not in (MessageType.RESULT, MessageType.ERROR)
    worker.answer(worker.task(), text="unheard")
    refused = client.ask("unknown")
    cluster.has_room = lambda kind, payload: True
    for task_id, model in ((asked, "m"), (refused, "unknown")):
        client.ask(model, task_id=task_id)
    assert client.error().id == refused
    worker.answer(worker.task(), text="heard")
    assert (result := client.result()).id == asked and result.text == "heard"
