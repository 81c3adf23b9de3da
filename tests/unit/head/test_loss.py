"""What happens to tasks when workers fail, go silent, restart or leave."""

import pytest
import structlog

from daiic.wire import daiic_pb2 as pb


def begin_stream(cluster, client, worker, parts=3):
    """Let a client have the first parts of a text; return the worker's task."""
    client.ask(stream=True)
    task = worker.task()
    for index in range(parts):
        worker.answer(task, index, text=f"{index} ", tokens=[index], final=False)
    return task


def end_stream(worker):
    """Go on with the text from where it broke off."""
    task = worker.task()
    index = task.resume.index
    worker.answer(task, index, text=f"{index} ", tokens=[index])
    return task


LOSSES = {
    "silent": lambda cluster, worker: (setattr(worker, "alive", False), cluster.pass_time(10.1)),
    "unreachable": lambda cluster, worker: worker.unreachable(),
    "restarted": lambda cluster, worker: worker.restart(),
    "stopped": lambda cluster, worker: worker.say(state=pb.STOPPED),
}


@pytest.mark.parametrize("how", LOSSES)
def test_stream_goes_on_elsewhere_without_break_or_repetition(cluster, how):
    lost = cluster.worker("lost", rates={"m": 9.0})
    client = cluster.client()
    begin_stream(cluster, client, lost)
    other = cluster.worker("other", rates={"m": 1.0})
    LOSSES[how](cluster, lost)
    task = end_stream(other if other.inbox else lost)
    assert (list(task.resume.tokens), task.resume.text) == ([0, 1, 2], "0 1 2 ")
    results = client.results()
    assert "".join(r.text for r in results) == "0 1 2 3 "
    assert [r.index for r in results] == [0, 1, 2, 3]
    assert client.status().tasks_moved == 1


@pytest.mark.parametrize("code", [pb.INTERNAL, pb.OUT_OF_MEMORY, pb.SHUTTING_DOWN, pb.WORKER_LOST])
def test_task_that_failed_on_one_worker_is_tried_on_another(cluster, code):
    first, client = cluster.worker("first"), cluster.client()
    task = begin_stream(cluster, client, first)
    second = cluster.worker("second")
    first.fail(task, code)
    end_stream(second)
    assert "".join(r.text for r in client.results()) == "0 1 2 3 "


def test_late_part_of_the_lost_run_is_not_relayed(cluster):
    first, client = cluster.worker("first"), cluster.client()
    task = begin_stream(cluster, client, first)
    second = cluster.worker("second")
    first.fail(task, pb.INTERNAL)
    first.answer(task, 3, text="again ", final=False)
    end_stream(second)
    assert "again" not in "".join(r.text for r in client.results())


def test_parts_behind_a_gap_are_made_anew(cluster):
    first, client = cluster.worker("first"), cluster.client()
    task = begin_stream(cluster, client, first)
    first.answer(task, 4, text="4 ", tokens=[4], final=False)
    second = cluster.worker("second")
    first.unreachable()
    assert second.task().resume.index == 3


def test_task_is_not_tried_without_end(new_cluster):
    cluster = new_cluster(max_attempts=2)
    workers = [cluster.worker(str(number)) for number in range(3)]
    client = cluster.client()
    client.ask()
    tried = 0
    while working := [worker for worker in workers if worker.inbox]:
        (worker,) = working
        worker.fail(worker.task(), pb.INTERNAL, f"fault on {worker.heartbeat.name}")
        tried += 1
    assert tried == 2
    assert client.error().message.startswith("fault on ")


def test_task_that_fails_on_the_only_worker_fails_with_what_that_says(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask()
    worker.fail(worker.task(), pb.OUT_OF_MEMORY, "a bigger graphics card is needed")
    error = client.error()
    assert (error.code, error.message) == (pb.OUT_OF_MEMORY, "a bigger graphics card is needed")


def test_task_of_the_only_worker_waits_for_its_restart(cluster):
    worker, client = cluster.worker(), cluster.client()
    begin_stream(cluster, client, worker)
    worker.alive = False
    cluster.pass_time(15)
    assert not client.errors()
    worker.restart()
    end_stream(worker)
    assert "".join(r.text for r in client.results()) == "0 1 2 3 "


def test_task_fails_if_its_worker_does_not_come_back(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask()
    worker.alive = False
    cluster.pass_time(21)
    assert client.error().code == pb.WORKER_LOST


def test_polite_refusals_do_not_count_as_attempts(new_cluster):
    cluster = new_cluster(max_attempts=1)
    leaving = [cluster.worker(str(number), rates={"m": 9.0}) for number in range(3)]
    staying = cluster.worker("staying", rates={"m": 1.0})
    client = cluster.client()
    client.ask()
    for _ in leaving:
        (worker,) = [worker for worker in leaving if worker.inbox]
        worker.fail(worker.task(), pb.SHUTTING_DOWN)
    staying.answer(staying.task(), text="here")
    assert client.result().text == "here"


def test_worker_that_says_it_shuts_down_gets_nothing_more(cluster):
    leaving, client = cluster.worker("leaving"), cluster.client()
    client.ask()
    staying = cluster.worker("staying", rates={"m": 0.1})
    leaving.fail(leaving.task(), pb.SHUTTING_DOWN)
    client.ask()
    assert len(staying.tasks()) == 2


def test_moved_task_goes_before_those_that_came_after_it(cluster):
    first, client = cluster.worker("first", slots=1), cluster.client()
    early = client.ask()
    client.ask()
    second = cluster.worker("second", slots=1)
    late = second.task()
    client.ask()
    first.alive = False
    first.unreachable()
    second.answer(late)
    second.answer(second.task())
    assert early in {r.id for r in client.results()}


def test_dead_worker_leaves_the_registry_after_ten_seconds(cluster):
    worker, client = cluster.worker(), cluster.client()
    worker.alive = False
    cluster.pass_time(9.9)
    assert len(client.status().workers) == 1
    cluster.pass_time(0.3)
    assert not client.status().workers


def test_restarted_worker_serves_with_its_first_heartbeat(cluster):
    worker, client = cluster.worker(), cluster.client()
    worker.alive = False
    cluster.pass_time(11)
    client.ask()
    assert client.error().code == pb.NO_WORKER
    worker.restart()
    client.ask()
    assert worker.task()


def test_heartbeat_of_a_process_that_was_replaced_is_ignored(cluster):
    worker, client = cluster.worker(), cluster.client()
    before = pb.Heartbeat()
    before.CopyFrom(worker.heartbeat)
    worker.restart()
    client.ask()
    task = worker.task()
    after, worker.heartbeat = worker.heartbeat, before
    worker.beat()
    worker.heartbeat = after
    worker.answer(task, text="hi")
    assert client.result().text == "hi"


def test_heartbeat_that_the_workers_last_one_has_overtaken_does_not_bring_it_back(cluster):
    worker, client = cluster.worker(), cluster.client()
    worker.alive = False
    worker.say(state=pb.STOPPED)
    worker.say(state=pb.READY)
    assert not client.status().workers
    worker.restart()
    assert len(client.status().workers) == 1


def test_worker_with_a_new_address_keeps_its_tasks(cluster):
    worker, client = cluster.worker(), cluster.client()
    answered, cancelled = client.ask(), client.ask()
    first, second = worker.tasks()
    worker.move()
    worker.answer(first, text="hi")
    assert client.result().id == answered
    client.cancel(cancelled)
    assert worker.cancelled() == [second.id]


def test_two_workers_with_one_id_are_told_apart_and_reported_once(cluster):
    first = cluster.worker("twin")
    second = cluster.worker("twin", incarnation=2)
    with structlog.testing.capture_logs() as logs:
        cluster.pass_time(20)
    assert [line["event"][:31] for line in logs] == ["two workers have the same id, s"]
    cluster.client().ask()
    assert (len(first.tasks()), len(second.tasks())) == (0, 1)
