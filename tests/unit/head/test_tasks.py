"""The life of a task, from its arrival to its end."""

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType


def test_answer_comes_back_under_the_clients_id(cluster):
    worker, client = cluster.worker(), cluster.client()
    task_id = client.ask()
    task = worker.task()
    assert task.id != task_id
    worker.answer(task, text="hi", worker_id="w")
    assert client.result() == pb.Result(id=task_id, final=True, text="hi", worker_id="w")


def test_task_without_id_is_known_by_its_sequence(cluster):
    worker, client = cluster.worker(), cluster.client()
    task = pb.Task(model="m", text=pb.TextTask(prompt="hello"))
    client.send(MessageType.TASK, task.SerializeToString(), sequence=77)
    worker.answer(worker.task())
    assert client.result().id == 77


def test_parts_that_overtake_each_other_are_relayed_in_order_and_once(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(stream=True)
    task = worker.task()
    for index in (1, 0, 0, 3, 1, 2):
        worker.answer(task, index, text=str(index), final=index == 3)
    assert [(r.index, r.text) for r in client.results()] == [(n, str(n)) for n in range(4)]


def test_every_run_of_a_text_or_image_has_the_same_seed(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask()
    client.ask(image=pb.ImageTask(prompt="a red circle"))
    text, image = worker.tasks()
    assert text.text.HasField("seed")
    assert image.image.HasField("seed")


def test_repeated_task_runs_once(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(task_id=5)
    client.ask(task_id=5)
    worker.answer(worker.task())
    client.ask(task_id=5, resume=pb.Resume(text="h", index=1))
    assert not worker.tasks()
    assert len(client.results()) == 1


def test_clients_may_use_the_same_ids(cluster):
    worker = cluster.worker()
    for client in (cluster.client(), cluster.client()):
        client.ask(task_id=5)
        worker.answer(worker.task(), text="hi")
        assert client.result().text == "hi"


def test_no_worker_gets_more_than_its_slots(cluster):
    worker, client = cluster.worker(slots=2), cluster.client()
    for _ in range(5):
        client.ask()
    first, second = worker.tasks()
    assert client.status().queued == 3
    worker.answer(second)
    third = worker.task()
    worker.answer(first)
    worker.answer(third)
    assert len(worker.tasks()) == 2


def test_waiting_tasks_go_to_whoever_is_free_first_in_the_order_of_their_arrival(cluster):
    cluster.worker("slow", slots=1)
    fast = cluster.worker("fast", slots=1)
    client = cluster.client()
    for number in range(5):
        client.ask(text=pb.TextTask(prompt=str(number)))
    done = []
    for _ in range(4):
        task = fast.task()
        done.append(task.text.prompt)
        fast.answer(task)
    assert done[1:] == ["2", "3", "4"]


def test_tasks_that_wait_for_one_model_do_not_hold_up_those_for_another(cluster):
    cluster.worker("busy", models=("a",), slots=1)
    free = cluster.worker("free", models=("b",))
    client = cluster.client()
    client.ask("a")
    client.ask("a")
    client.ask("b")
    assert free.task().model == "b"


def test_full_queue_is_an_error_at_once(new_cluster):
    cluster = new_cluster(queue_size=2)
    worker, client = cluster.worker(slots=1), cluster.client()
    for _ in range(3):
        client.ask()
    refused = client.ask()
    error = client.error()
    assert (error.id, error.code) == (refused, pb.QUEUE_FULL)
    assert "queue_size" in error.remedy
    worker.answer(worker.task())
    client.ask()
    assert not client.errors()


def test_cancelled_task_leaves_its_worker(cluster):
    worker, client = cluster.worker(slots=1), cluster.client()
    running, waiting, last = client.ask(), client.ask(), client.ask()
    task = worker.task()
    client.cancel(waiting)
    client.cancel(running)
    assert worker.cancelled() == [task.id]
    worker.answer(task)
    worker.answer(worker.task())
    assert [r.id for r in client.results()] == [last]
    assert client.status().queued == 0


def test_cancel_that_overtakes_its_task_counts(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.cancel(9)
    client.ask(task_id=9)
    assert not worker.tasks()


def test_tasks_of_a_client_that_has_gone_are_cancelled(cluster):
    worker, client, other = cluster.worker(slots=2), cluster.client(), cluster.client()
    client.ask()
    other.ask()
    client.ask()
    mine, others = worker.tasks()
    client.unreachable()
    assert worker.cancelled() == [mine.id]
    worker.answer(others)
    assert other.result().final
    assert not worker.tasks()


def test_tasks_of_a_client_that_answers_pings_no_more_are_cancelled(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.answers_pings = True
    client.ask()
    cluster.pass_time(60)
    assert not worker.cancelled()
    client.answers_pings = False
    cluster.pass_time(8)
    assert not worker.cancelled()
    cluster.pass_time(5)
    assert worker.cancelled() == [worker.task().id]


def test_client_that_never_answers_pings_is_not_taken_for_gone(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask()
    cluster.pass_time(60)
    worker.answer(worker.task(), text="hi")
    assert client.result().text == "hi"


def test_client_that_comes_back_and_repeats_its_task_gets_the_rest(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(task_id=5, stream=True)
    worker.answer(worker.task(), text="one ", tokens=[1], final=False)
    client.unreachable()
    client.ask(task_id=5, stream=True, resume=pb.Resume(tokens=[1], text="one ", index=1))
    worker.answer(worker.task(), text="two", tokens=[2])
    assert [r.text for r in client.results()] == ["one ", "two"]


@pytest.mark.parametrize("asked, life", [(1500, 1.5), (0, 5.0), (60_000, 5.0)])
def test_task_ends_at_its_deadline_or_the_heads(new_cluster, asked, life):
    cluster = new_cluster(task_deadline=5.0)
    worker, client = cluster.worker(), cluster.client()
    client.ask(deadline_ms=asked)
    task = worker.task()
    cluster.pass_time(life - 0.2)
    assert not client.errors()
    cluster.pass_time(0.3)
    assert client.error().code == pb.DEADLINE_EXCEEDED
    assert worker.cancelled() == [task.id]


def test_deadlines_count_the_time_in_which_the_head_was_stopped(cluster):
    worker, client = cluster.worker(), cluster.client()
    before = client.ask(deadline_ms=5000)
    cluster.stop_head(12.0)
    client.ask(deadline_ms=5000)
    cluster.pass_time(1.0)
    assert client.error().id == before
    assert len(worker.cancelled()) == 1
    cluster.pass_time(3.0)
    assert not client.errors()


def test_waiting_task_ends_at_its_deadline(cluster):
    worker, client = cluster.worker(slots=1), cluster.client()
    client.ask()
    waiting = client.ask(deadline_ms=1000)
    cluster.pass_time(1.2)
    assert client.error().id == waiting
    worker.answer(worker.task())
    assert not worker.tasks()


def test_worker_is_told_to_stop_what_the_head_does_not_know(cluster):
    """A head that has restarted hears of tasks from before."""
    worker, client = cluster.worker(), cluster.client()
    client.ask()
    task = worker.task()
    cluster.restart_head()
    worker.beat()
    worker.answer(task, text="t", final=False)
    assert worker.cancelled() == [task.id]
    assert not client.results()


def test_task_that_a_client_sends_again_to_a_new_head_goes_on(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(task_id=5, stream=True)
    worker.answer(worker.task(), text="one ", tokens=[1], final=False)
    client.results()
    cluster.restart_head()
    client.ask(task_id=5, stream=True, resume=pb.Resume(tokens=[1], text="one ", index=1))
    worker.beat()
    task = worker.task()
    assert task.resume.tokens == [1]
    worker.answer(task, text="two", tokens=[2])
    assert [(r.index, r.text) for r in client.results()] == [(1, "two")]


def test_error_that_no_other_worker_would_avoid_reaches_the_client(cluster):
    first, second, client = cluster.worker("1"), cluster.worker("2"), cluster.client()
    task_id = client.ask()
    worker = first if first.inbox else second
    worker.fail(worker.task(), pb.MODEL_GATED, "the model is gated")
    error = client.error()
    assert (error.id, error.code, error.message) == (task_id, pb.MODEL_GATED, "the model is gated")
    assert not first.inbox
    assert not second.inbox


def test_draining_head_finishes_what_it_has_and_refuses_the_rest(cluster):
    worker, client = cluster.worker(slots=1), cluster.client()
    client.ask()
    client.ask()
    cluster.core.clients.closed = True
    refused = client.ask()
    error = client.error()
    assert (error.id, error.code) == (refused, pb.SHUTTING_DOWN)
    worker.answer(worker.task())
    worker.answer(worker.task())
    assert len(client.results()) == 2
    assert cluster.core.dispatcher.jobs == {}


def test_tasks_that_do_not_finish_in_time_are_given_up_with_an_error(cluster):
    worker, client = cluster.worker(slots=1), cluster.client()
    ids = {client.ask(), client.ask()}
    task = worker.task()
    cluster.core.abandon(cluster.now)
    errors = client.errors()
    assert {error.id for error in errors} == ids
    assert {error.code for error in errors} == {pb.SHUTTING_DOWN}
    assert worker.cancelled() == [task.id]
    assert cluster.core.dispatcher.jobs == {}


def test_a_status_tells_of_the_tasks_that_are_not_over_if_asked(cluster):
    worker, client = cluster.worker(slots=1), cluster.client()
    client.ask()
    cluster.pass_time(1.5)
    client.ask(embed=pb.EmbedTask(inputs=["x"]))
    assert not client.status().tasks
    runs, waits = client.status(tasks=True).tasks
    assert (runs.kind, runs.model, runs.worker_id, runs.attempts) == ("text", "m", "w", 1)
    assert (waits.kind, waits.worker_id, waits.attempts) == ("embed", "", 0)
    assert 1400 <= runs.age_ms - waits.age_ms <= 1600
    assert 0 < runs.number < waits.number
    worker.answer(worker.task())
    (left,) = client.status(tasks=True).tasks
    assert (left.number, left.worker_id) == (waits.number, "w")


def test_a_long_name_is_cut_where_tasks_are_listed(cluster):
    cluster.restart_head()  # workers may still come that have the model
    client = cluster.client()
    client.ask("m" * (1 << 20))
    (task,) = client.status(tasks=True).tasks
    assert len(task.model) <= 300
