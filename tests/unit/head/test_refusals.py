"""Tasks that cannot be served, and how the head says so."""

import json

import pytest

from daiic.head.limits import HeadLimits
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType


def ask_json(client, text, sequence=1):
    client.send(MessageType.TASK, text.encode(), sequence)


def json_results(client):
    return [json.loads(p) for p in client.received(MessageType.RESULT)]


def test_model_that_nobody_has_is_an_error_that_lists_what_there_is(cluster):
    cluster.worker("a", models=("llama", "mistral"))
    client = cluster.client()
    task_id = client.ask("lama")
    error = client.error()
    assert (error.id, error.code) == (task_id, pb.MODEL_NOT_FOUND)
    assert "lama" in error.message
    assert "llama, mistral" in error.remedy


def test_cluster_without_workers_says_how_to_start_one(cluster):
    client = cluster.client()
    client.ask()
    error = client.error()
    assert error.code == pb.NO_WORKER
    assert "daiic-worker" in error.remedy


def test_pinned_worker_that_is_not_there_is_an_error_that_lists_those_that_are(cluster):
    cluster.worker("here")
    client = cluster.client()
    client.ask(worker_id="elsewhere")
    error = client.error()
    assert error.code == pb.NO_WORKER
    assert "here" in error.remedy


def test_task_without_model_or_work_is_refused(cluster):
    cluster.worker()
    client = cluster.client()
    client.ask("")
    assert "set model to one of m" in client.error().remedy
    client.send(MessageType.TASK, pb.Task(id=1000, model="m").SerializeToString())
    error = client.error()
    assert (error.id, error.code) == (1000, pb.BAD_REQUEST)
    assert "text, image, embed, transcribe, speak, rerank, load" in error.remedy


def test_payload_that_is_no_task_is_refused_under_its_sequence(cluster):
    client = cluster.client()
    client.send(MessageType.TASK, b"\xff\xff\xff", sequence=41)
    error = client.error()
    assert (error.id, error.code) == (41, pb.BAD_REQUEST)


def test_task_that_is_too_large_is_refused(new_cluster):
    cluster = new_cluster(HeadLimits(task=3 << 20))
    worker, client = cluster.worker(), cluster.client()
    client.ask(text=pb.TextTask(prompt="a" * (3 << 20)))
    assert client.error().message == "the task has 3 MiB, and 3 MiB is the limit"
    assert not worker.tasks()


@pytest.mark.parametrize(
    "kind", [MessageType.RESULT, MessageType.ERROR, MessageType.CANCEL, MessageType.HEARTBEAT]
)
def test_other_messages_that_cannot_be_read_are_counted(cluster, kind):
    client = cluster.client()
    client.send(kind, b"\xff\xff\xff")
    assert cluster.core.statistics.malformed == 1
    assert not client.inbox


def test_new_head_lets_tasks_wait_until_its_workers_have_registered(cluster):
    cluster.restart_head()
    client = cluster.client()
    client.ask()
    cluster.pass_time(2)
    worker = cluster.worker()
    worker.answer(worker.task(), text="hi")
    assert client.result().text == "hi"


def test_new_head_refuses_what_nobody_can_serve_once_all_workers_had_time_to_register(cluster):
    cluster.restart_head()
    client = cluster.client()
    cluster.worker(models=("other",))
    client.ask("m")
    cluster.pass_time(9.8)
    assert not client.errors()
    cluster.pass_time(0.4)
    assert client.error().code == pb.MODEL_NOT_FOUND


def test_json_task_is_answered_in_json(cluster):
    worker, client = cluster.worker(), cluster.client()
    ask_json(client, '{"id": "7", "model": "m", "stream": true, "text": {"prompt": "hello"}}')
    task = worker.task()
    assert task.text.prompt == "hello"
    worker.answer(task, text="grüß", final=False)
    worker.answer(task, 1, finish_reason=pb.FINISH_REASON_STOP)
    assert json_results(client) == [
        {"id": "7", "text": "grüß"},
        {"id": "7", "index": 1, "final": True, "finishReason": "FINISH_REASON_STOP"},
    ]


def test_errors_of_json_tasks_are_results(cluster):
    cluster.worker()
    client = cluster.client()
    ask_json(client, '{"id": 7, "model": "nobody-has-it", "text": {"prompt": "hello"}}')
    (result,) = json_results(client)
    assert (result["id"], result["final"]) == ("7", True)
    assert result["error"]["code"] == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    "text, named",
    [
        ('{"id": 7, "model": "m", "txt": {"prompt": "hello"}}', "txt"),
        ('{"id": 7, "model": "m", "text": {"max_token": 3}}', "max_token"),
        ('{"id": 7, "model": "m", "text": {"max_tokens": "many"}}', "many"),
    ],
)
def test_wrong_field_in_json_is_named(cluster, text, named):
    client = cluster.client()
    ask_json(client, text)
    (result,) = json_results(client)
    assert (result["id"], result["error"]["code"]) == ("7", "BAD_REQUEST")
    assert named in result["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"id": }',
        '{"id": -1}',
        '{"id": [1]}',
        "{" * 9999,
        '{"a": "\ud800"}',
        '{"id": 1e400}',
    ],
)
def test_broken_json_is_refused_under_its_sequence(cluster, text):
    client = cluster.client()
    client.send(MessageType.TASK, text.encode(errors="surrogatepass"), sequence=41)
    (result,) = json_results(client)
    assert (result["id"], result["error"]["code"]) == ("41", "BAD_REQUEST")


def test_status_shows_workers_tasks_and_queue(cluster):
    worker, client = cluster.worker(slots=1), cluster.client()
    client.ask()
    client.ask()
    cluster.pass_time(1)
    status = client.status()
    assert (status.queued, status.in_flight, status.queue_size) == (1, 1, 100)
    (shown,) = status.workers
    assert shown.heartbeat == worker.heartbeat
    assert (shown.in_flight, shown.age_ms) == (1, 1000)
    worker.answer(worker.task())
    worker.fail(worker.task(), pb.BAD_REQUEST)
    status = client.status()
    assert (status.tasks_done, status.tasks_failed) == (1, 1)
