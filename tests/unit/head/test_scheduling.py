"""Which worker gets a task."""

import pytest

from daiic.wire import daiic_pb2 as pb

NEAREST_FIRST = [
    {"models": {"o/m": pb.LOADED}},
    {"models": {"o/m": pb.LOADING}},
    {"models": {"o/m": pb.AVAILABLE}},
    {"models": {"o/m": pb.DOWNLOADING}},
    {"models": {}, "can_download": True},
    {"models": {"o/m": pb.FAILED}},
]


@pytest.mark.parametrize("place", range(len(NEAREST_FIRST) - 1))
def test_worker_nearer_to_the_model_gets_the_task(cluster, place):
    further = cluster.worker("further", **NEAREST_FIRST[place + 1], rates={"o/m": 1000.0})
    nearer = cluster.worker("nearer", **NEAREST_FIRST[place], rates={"o/m": 1.0})
    cluster.client().ask("o/m")
    assert nearer.task().model == "o/m"
    assert not further.tasks()


def test_faster_worker_gets_the_task(cluster):
    slow = cluster.worker("slow", rates={"m": 10.0})
    fast = cluster.worker("fast", rates={"m": 30.0})
    client = cluster.client()
    client.ask()
    client.ask()
    assert (len(fast.tasks()), len(slow.tasks())) == (2, 0)


def test_slower_worker_helps_when_the_faster_has_much_to_do(cluster):
    slow = cluster.worker("slow", rates={"m": 20.0}, slots=4)
    fast = cluster.worker("fast", rates={"m": 30.0}, slots=4)
    client = cluster.client()
    for _ in range(6):
        client.ask()
    assert len(slow.tasks()) >= 2
    assert len(fast.tasks()) >= 3


def test_images_queue_up_behind_each_other_so_an_idle_slower_worker_is_sooner(cluster):
    slow = cluster.worker("slow", rates={"m": 0.6})
    fast = cluster.worker("fast", rates={"m": 1.0})
    client = cluster.client()
    for _ in range(2):
        client.ask(image=pb.ImageTask(prompt="a red circle"))
    assert (len(fast.tasks()), len(slow.tasks())) == (1, 1)


def test_worker_that_was_never_measured_is_tried(cluster):
    cluster.worker("measured", rates={"m": 50.0})
    new = cluster.worker("new")
    client = cluster.client()
    client.ask()
    client.ask()
    assert new.tasks()


def test_equal_workers_share_equally(cluster):
    workers = [cluster.worker(f"w{number}") for number in range(3)]
    client = cluster.client()
    shares = dict.fromkeys(workers, 0)
    for _ in range(30):
        client.ask()
        for worker in workers:
            for task in worker.tasks():
                shares[worker] += 1
                worker.answer(task)
    assert set(shares.values()) == {10}


def test_tasks_of_other_heads_count(cluster):
    shared = cluster.worker("shared", slots=4)
    shared.say(running=4)
    shared.say(running=4)
    other = cluster.worker("other", slots=4)
    client = cluster.client()
    for _ in range(4):
        client.ask()
    assert (len(shared.tasks()), len(other.tasks())) == (0, 4)


def test_a_worker_that_other_heads_would_fill_for_ever_gets_one_task_all_the_same(cluster):
    worker = cluster.worker(slots=2)
    client = cluster.client()
    for done in (5, 5, 5):
        worker.say(running=2, tasks_done=done)
    for _ in range(3):
        client.ask()
    assert not worker.tasks(), "what is only busy is waited for"
    worker.say(running=2, tasks_done=6)
    first = worker.task()
    worker.say(running=2, waiting=1, tasks_done=9)
    assert not worker.tasks(), "it has one from this head"
    worker.answer(first)
    second = worker.task()
    worker.answer(second)
    third = worker.task()
    worker.say(running=1, tasks_done=12)
    worker.answer(third)
    for running in (1, 2, 2):
        worker.say(running=running, tasks_done=12)
    client.ask()
    client.ask()
    worker.say(running=2, tasks_done=12)
    assert not worker.tasks(), "it was not full all the time"


def test_one_heartbeat_that_crossed_results_does_not_make_a_worker_look_busy(cluster):
    worker = cluster.worker(slots=1)
    worker.say(running=1)
    cluster.client().ask()
    assert worker.tasks()


@pytest.mark.parametrize("state", [pb.STARTING, pb.DRAINING, pb.WORKER_STATE_UNSPECIFIED, 77])
def test_only_ready_workers_get_tasks(cluster, state):
    other = cluster.worker("other", state=state)
    ready = cluster.worker("ready")
    client = cluster.client()
    for _ in range(4):
        client.ask()
    assert (len(ready.tasks()), len(other.tasks())) == (4, 0)
    assert len(client.status().workers) == 2


def test_task_waits_for_a_worker_that_starts_with_its_model(cluster):
    worker = cluster.worker(state=pb.STARTING, models={"m": pb.LOADING})
    client = cluster.client()
    client.ask()
    cluster.pass_time(30)
    assert not client.errors()
    worker.say(state=pb.READY)
    assert worker.task()


def test_pinned_task_goes_where_it_says(cluster):
    cluster.worker("best", rates={"m": 100.0})
    named = cluster.worker("named", models={"m": pb.AVAILABLE})
    cluster.client().ask(worker_id="named")
    assert named.task()


def test_load_task_goes_to_the_best_candidate(cluster):
    cluster.worker("cannot", models=())
    candidate = cluster.worker("can", models={"m": pb.AVAILABLE})
    cluster.client().ask(load=pb.LoadTask())
    assert candidate.task().WhichOneof("work") == "load"


def test_tasks_follow_the_first_to_where_their_model_is_being_loaded(cluster):
    workers = [cluster.worker(f"w{n}", models={"m": pb.AVAILABLE}) for n in range(2)]
    client = cluster.client()
    for _ in range(3):
        client.ask()
    assert sorted(len(worker.tasks()) for worker in workers) == [0, 3]


def test_second_worker_loads_a_model_only_after_tasks_have_waited_for_the_first(cluster):
    first = cluster.worker("first", slots=1)
    second = cluster.worker("second", models={"m": pb.AVAILABLE})
    client = cluster.client()
    client.ask()
    client.ask()
    cluster.pass_time(1.5)
    assert (len(first.tasks()), len(second.tasks())) == (1, 0)
    cluster.pass_time(1.0)
    assert second.task()


def test_model_is_not_downloaded_because_those_who_have_it_are_busy(cluster):
    cluster.worker("has", models=("o/m",), slots=1)
    could = cluster.worker("could", models=(), can_download=True)
    client = cluster.client()
    client.ask("o/m")
    client.ask("o/m")
    cluster.pass_time(60)
    assert not could.tasks()


@pytest.mark.parametrize(
    "model", ["tiny-llama", "a/b/c", "owner/", "/name", "o/m.safetensors", "o/m.gguf"]
)
def test_only_hugging_face_ids_are_for_download(cluster, model):
    cluster.worker(models=("m",), can_download=True)
    client = cluster.client()
    client.ask(model)
    assert client.error().code == pb.MODEL_NOT_FOUND
