"""What someone with the cluster's key sends costs the head no more than its bounds allow."""

import itertools
import json

import pytest

from daiic.answer_order import TOKEN
from daiic.head.limits import HeadLimits
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType

MIB = 1 << 20


def result(task, **fields):
    return pb.Result(id=task.id, **fields).SerializeToString()


# ------------------------------------------------------------------ answers


def test_answer_counts_only_from_the_worker_that_has_the_task(cluster):
    worker, client = cluster.worker("w"), cluster.client()
    client.ask(stream=True)
    task = worker.task()
    for other in (cluster.worker("other", models=()), cluster.client()):
        other.send(MessageType.RESULT, result(task, final=True, text="forged"))
        other.send(MessageType.ERROR, pb.Error(id=task.id, code=pb.BAD_REQUEST).SerializeToString())
    assert not client.results() and not client.errors()
    worker.answer(task, text="true")
    assert client.result().text == "true"
    assert cluster.core.statistics.foreign == 4


def test_answer_goes_on_when_its_worker_moves_to_another_address_in_the_middle(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(stream=True)
    task = worker.task()
    worker.answer(task, 0, text="0 ", tokens=[0], final=False)
    before = worker.address
    worker.address = ("192.0.2.77", 7)
    cluster.members[worker.address] = worker
    worker.answer(task, 1, text="1 ", tokens=[1], final=False)  # lost: nobody knows that address
    worker.beat()
    assert before != worker.address
    assert worker.cancelled() == [task.id]
    again = worker.task()
    assert again.resume.index == 1
    worker.answer(again, 1, text="1 ", tokens=[1])
    assert "".join(part.text for part in client.results()) == "0 1 "


def test_attempts_cannot_be_guessed_from_one_another(cluster):
    worker, client = cluster.worker(), cluster.client()
    for _ in range(4):
        client.ask()
    ids = sorted(task.id for task in worker.tasks())
    assert all(later - earlier > 1 << 32 for earlier, later in itertools.pairwise(ids))


def early(worker, task, index, size):
    worker.answer(task, index, text="x" * size, final=False)


@pytest.mark.parametrize(
    "limits, parts",
    [
        (HeadLimits(ahead_bytes=10_000), [(index, 1000) for index in range(1, 20)]),
        (HeadLimits(ahead=16), [(16, 1)]),
    ],
    ids=["bytes", "distance"],
)
def test_worker_that_sends_too_much_beyond_a_gap_loses_the_task(new_cluster, limits, parts):
    cluster = new_cluster(limits)
    bad, client = cluster.worker("bad"), cluster.client()
    client.ask(stream=True)
    task = bad.task()
    good = cluster.worker("good")
    for index, size in parts:
        early(bad, task, index, size)
    assert bad.cancelled()[0] == task.id
    good.answer(good.task(), text="done")
    assert client.result().text == "done"


def test_all_tasks_together_keep_no_more_than_the_bound_and_the_worst_goes(new_cluster):
    cluster = new_cluster(HeadLimits(ahead_memory=21_000))
    bad, good = cluster.worker("bad"), cluster.worker("good", models=("n",))
    client = cluster.client()
    asked = client.ask("n", stream=True)
    patient = good.task()
    early(good, patient, 1, 2000)
    for _ in range(4):
        client.ask("m", stream=True)
    for task in bad.tasks():
        early(bad, task, 1, 6000)
        early(bad, task, 2, 1)
    assert not good.cancelled()
    assert len(set(bad.cancelled())) == 1
    good.answer(patient, 0, text="", final=False)
    good.answer(patient, 2, text="end")
    assert [part.id for part in client.results()] == [asked] * 3


def test_answer_that_never_ends_is_ended(new_cluster):
    cluster = new_cluster(HeadLimits(delivered=100 * TOKEN))
    worker, client = cluster.worker(), cluster.client()
    asked = client.ask(stream=True)
    task = worker.task()
    for index in range(40):
        worker.answer(task, index, tokens=[1, 2, 3], final=False)
    assert client.error().id == asked
    assert worker.cancelled()[0] == task.id


def test_answer_that_is_cut_off_by_the_bound_has_no_hole(new_cluster):
    cluster = new_cluster(HeadLimits(delivered=3000))
    bad, client = cluster.worker("bad"), cluster.client()
    client.ask(stream=True)
    task = bad.task()
    good = cluster.worker("good")
    for index in (1, 2, 3, 0):  # the last lets all pass on, of which the bound admits two
        early(bad, task, index, 1200)
    resumed = good.task().resume
    assert resumed.index == 2
    assert "".join(part.text for part in client.results()) == resumed.text


# --------------------------------------------------------------- heartbeats


def test_heartbeat_that_is_too_large_is_not_read(cluster):
    heartbeat = pb.Heartbeat(worker_id="w", state=pb.READY, device="x" * (65 << 10))
    cluster.client().send(MessageType.HEARTBEAT, heartbeat.SerializeToString())
    assert not cluster.client().status().workers
    assert cluster.core.statistics.malformed == 1


def test_heartbeat_is_cut_to_what_is_kept(cluster):
    limits = HeadLimits()
    worker = cluster.worker(slots=1 << 31, heads=[f"192.0.2.1:{n}" for n in range(500)])
    del worker.heartbeat.models[:]
    worker.heartbeat.name = "n" * 5000
    for number in range(1000):
        worker.heartbeat.models.add(name=f"m{number}", state=pb.LOADED)
    worker.heartbeat.models.insert(0, pb.ModelStatus(name="x" * 1000, state=pb.LOADED))
    worker.heartbeat.models[1].detail = "d" * 5000
    worker.heartbeat.models[1].engine = "e" * 5000
    worker.heartbeat.models[1].choice = "c" * 5000
    worker.heartbeat.models[1].rate = float("nan")
    worker.beat()
    (kept,) = cluster.client().status().workers
    heartbeat = kept.heartbeat
    assert (len(heartbeat.name), heartbeat.slots) == (limits.name, limits.slots)
    assert len(heartbeat.models) == limits.models - 1  # one has a name that is none
    assert len(heartbeat.models[0].detail) == limits.detail
    assert len(heartbeat.models[0].engine) == limits.name
    assert len(heartbeat.models[0].choice) == limits.detail
    assert heartbeat.models[0].rate == 0.0
    assert len(heartbeat.heads) == limits.heads


def test_one_address_has_one_worker(cluster):
    worker = cluster.worker("0")
    for number in range(1, 1000):
        worker.say(worker_id=str(number))
    (kept,) = cluster.client().status().workers
    assert kept.heartbeat.worker_id == "999"


def test_tasks_of_a_worker_whose_address_another_has_go_elsewhere(cluster):
    worker, client = cluster.worker("before"), cluster.client()
    client.ask()
    worker.task()
    worker.say(worker_id="after", incarnation=9)
    worker.answer(worker.task(), text="done")
    assert client.result().text == "done"


@pytest.mark.parametrize(
    "limits", [HeadLimits(workers=5), HeadLimits(heartbeats_memory=100)], ids=["number", "bytes"]
)
def test_workers_beyond_the_bound_are_not_taken_in_and_the_others_stay(new_cluster, limits):
    cluster = new_cluster(limits)
    workers = [cluster.worker(str(number)) for number in range(20)]
    kept = len(cluster.client().status().workers)
    assert 0 < kept <= 5
    assert cluster.core.statistics.refused_heartbeats == 20 - kept
    workers[0].say(state=pb.STOPPED)
    workers[19].beat()
    ids = {worker.heartbeat.worker_id for worker in cluster.client().status().workers}
    assert "19" in ids and "0" not in ids and len(ids) == kept


# -------------------------------------------------------------------- tasks


def test_small_bytes_that_decode_into_much_are_not_decoded(cluster):
    client = cluster.client()
    much = b"".join(
        [pb.Task(id=1, model="m").SerializeToString(), b"\x42\xc0\x84\x3d", b"\x0a\x00" * 500_000]
    )
    assert len(pb.Task.FromString(much).text.messages) == 500_000
    client.send(MessageType.TASK, much, sequence=7)
    error = client.error()
    assert "too many fields" in error.message
    assert error.id == 1


def test_a_task_that_is_too_large_is_refused_under_its_own_id(new_cluster):
    client = new_cluster(HeadLimits(task=100_000)).client()
    task_id = client.ask(task_id=99, text=pb.TextTask(prompt="x" * 100_000))
    assert client.error().id == task_id


@pytest.mark.parametrize("task_id", [99, "18446744073709551615"])
def test_a_json_task_that_is_too_large_is_refused_under_the_id_it_begins_with(cluster, task_id):
    client = cluster.client()
    task = {"id": task_id, "model": "m", "text": {"prompt": "x" * (4 * MIB)}}
    client.send(MessageType.TASK, json.dumps(task).encode(), sequence=7)
    (refused,) = [json.loads(p) for p in client.received(MessageType.RESULT)]
    assert (refused["id"], refused["error"]["code"]) == (str(task_id), "BAD_REQUEST")


def test_json_with_too_many_values_is_not_made_a_task(cluster):
    client = cluster.client()
    client.send(MessageType.TASK, json.dumps({"text": {"stop": ["a"] * 30_000}}).encode())
    (refused,) = [json.loads(p) for p in client.received(MessageType.RESULT)]
    assert refused["error"]["code"] == "BAD_REQUEST"
    assert "too many values" in refused["error"]["message"]


def test_task_that_resumes_more_than_an_answer_may_have_is_refused(new_cluster):
    cluster = new_cluster(HeadLimits(delivered=1000))
    worker, client = cluster.worker(), cluster.client()
    client.ask(resume=pb.Resume(tokens=[1] * 30, index=30))
    assert client.error().code == pb.BAD_REQUEST
    assert not worker.tasks()


@pytest.mark.parametrize("index", [2**31 + 1, 2**32 - 1])
def test_task_whose_parts_could_not_be_numbered_is_refused(cluster, index):
    worker, client = cluster.worker(), cluster.client()
    client.ask(stream=True, resume=pb.Resume(text="a", index=index))
    assert client.error().code == pb.BAD_REQUEST
    assert not worker.tasks()


def test_task_resumed_at_the_largest_index_is_numbered_on_and_ends(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(stream=True, resume=pb.Resume(text="a", index=2**31))
    task = worker.task()
    worker.answer(task, text="b", final=False)
    worker.fail(task, pb.INTERNAL)
    assert client.result().index == 2**31
    assert client.error().code == pb.INTERNAL


def test_tasks_have_no_more_memory_than_the_bound_and_who_has_most_gives_way(new_cluster):
    cluster = new_cluster(HeadLimits(tasks_memory=100_000))
    worker, flood, other = cluster.worker(slots=1), cluster.client(), cluster.client()
    large = pb.TextTask(prompt="x" * 30_000)
    asked = [flood.ask(text=large) for _ in range(4)]
    error = flood.error()
    assert (error.id, error.code) == (asked[3], pb.QUEUE_FULL)
    taken = other.ask(text=large)
    assert flood.error().id == asked[2]
    for _ in range(3):
        worker.answer(worker.task())
    assert [answer.id for answer in other.results()] == [taken]
    assert not other.errors()


def test_clients_and_their_ids_have_a_bound(new_cluster):
    cluster = new_cluster(HeadLimits(clients=4, remembered_ids=8))
    worker = cluster.worker()
    served = cluster.client()
    asked = served.ask()
    task = worker.task()
    for _ in range(50):
        cluster.client().cancel(1)
    worker.answer(task)
    assert served.result().id == asked
    again = served.ask(task_id=asked)  # known still: it has not been pushed out
    assert again == asked and not worker.tasks()


def test_no_worker_makes_the_head_count_without_end(cluster):
    worker, client = cluster.worker(), cluster.client()
    for code in range(1000, 2000):
        client.ask()
        worker.fail(worker.task(), code)
    assert len(client.errors()) == 1000
    assert client.status().tasks_failed == 1000
    assert len(cluster.core.statistics.outcomes) < 600
