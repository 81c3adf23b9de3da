"""Large answers and tasks pass the head as they came, whatever else happens to them."""

import ctypes
import itertools
import json
import os
from pathlib import Path

import pytest

from daiic.head.limits import HeadLimits
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from daiic.wire.payload import SURELY_CHEAP
from daiic.work import WORK as KINDS

PICTURE = pb.Image(png=bytes(range(256)) * (SURELY_CHEAP // 128), seed=3)
SEEN = pb.TextTask(
    messages=[
        pb.ChatMessage(
            role="user",
            parts=[
                pb.ContentPart(text="what is it?"),
                pb.ContentPart(image=pb.Media(data=PICTURE.png, type="image/png")),
            ],
        )
    ],
    max_tokens=9,
)


def seeing():
    return [pb.ModelStatus(name="m", state=pb.LOADED, kind=pb.TEXT, capabilities=[pb.CHAT, pb.SEE])]


def test_a_large_answer_arrives_under_the_client_s_id(cluster):
    worker, client = cluster.worker(), cluster.client()
    task_id = client.ask(image=pb.ImageTask(prompt="p"))
    worker.answer(worker.task(), images=[PICTURE, PICTURE], text="t", worker_id="w")
    assert client.result() == pb.Result(
        id=task_id, final=True, images=[PICTURE, PICTURE], text="t", worker_id="w"
    )


def test_large_parts_are_passed_on_in_order(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(image=pb.ImageTask(prompt="p"), stream=True)
    task = worker.task()
    worker.answer(task, 2, images=[PICTURE], text="2")
    worker.answer(task, 1, images=[PICTURE], text="1", final=False)
    worker.answer(task, 0, images=[PICTURE], text="0", final=False)
    results = client.results()
    assert [part.text for part in results] == ["0", "1", "2"]
    assert all(list(part.images) == [PICTURE] for part in results)


def test_a_large_answer_to_a_json_task_is_json(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.send(MessageType.TASK, b'{"model": "m", "image": {"prompt": "p"}}', sequence=5)
    worker.answer(worker.task(), images=[PICTURE])
    (answer,) = map(json.loads, client.received(MessageType.RESULT))
    assert len(answer["images"][0]["png"]) > SURELY_CHEAP


def test_a_large_answer_that_is_no_message_is_counted_and_dropped(cluster):
    worker, client = cluster.worker(), cluster.client()
    client.ask(image=pb.ImageTask(prompt="p"))
    task = worker.task()
    whole = pb.Result(id=task.id, final=True, images=[PICTURE]).SerializeToString()
    worker.send(MessageType.RESULT, whole[:-1])
    assert not client.results()
    assert cluster.core.statistics.malformed == 1


@pytest.mark.parametrize("seed", [None, 0, 7])
def test_a_large_task_reaches_its_worker_as_it_is_with_a_seed(cluster, seed):
    worker, client = cluster.worker(models=seeing()), cluster.client()
    text = pb.TextTask(seed=seed)
    text.MergeFrom(SEEN)
    client.ask(text=text, deadline_ms=5000, client="somebody")
    task = worker.task()
    assert (task.deadline_ms, task.client) == (5000, "")
    assert list(task.text.messages) == list(SEEN.messages)
    assert task.text.max_tokens == 9
    assert task.text.HasField("seed")
    assert seed is None or task.text.seed == seed


def test_a_large_task_that_moves_is_the_same_and_resumed(cluster):
    first, client = cluster.worker("first", seeing()), cluster.client()
    client.ask(text=SEEN, stream=True)
    before = first.task()
    first.answer(before, 0, text="a", tokens=[1], final=False)
    second = cluster.worker("second", seeing())
    first.unreachable()
    after = second.task()
    assert after.resume == pb.Resume(tokens=[1], text="a", index=1)
    assert after.text == before.text


def test_a_large_task_for_a_model_that_cannot_see_is_refused(cluster):
    cluster.worker(models=[pb.ModelStatus(name="m", state=pb.LOADED, kind=pb.TEXT)])
    client = cluster.client()
    client.ask(text=SEEN)
    assert client.error().code == pb.UNSUPPORTED


WORK = {
    "text": SEEN,
    "image": pb.ImageTask(prompt="p", image=pb.Media(data=PICTURE.png), n=2),
    "embed": pb.EmbedTask(inputs=["x" * SURELY_CHEAP]),
    "transcribe": pb.TranscribeTask(audio=pb.Media(data=bytes(SURELY_CHEAP))),
    "speak": pb.SpeakTask(input="x" * SURELY_CHEAP),
    "rerank": pb.RerankTask(query="q", documents=["x" * SURELY_CHEAP]),
    "load": pb.LoadTask(),
    "status": pb.StatusTask(),
    "unload": pb.UnloadTask(),
}


@pytest.mark.parametrize("last", sorted(WORK.keys() - {"status", "unload"}))
def test_work_that_other_work_has_replaced_reaches_no_worker(cluster, last):
    can_all = pb.ModelStatus(name="m", state=pb.LOADED, capabilities=pb.Capability.values())
    worker, client = cluster.worker(models=[can_all], slots=99), cluster.client()
    for before in itertools.product(WORK, repeat=2):
        works = [pb.Task(**{name: WORK[name]}) for name in (*before, last)]
        payload = b"".join(work.SerializeToString() for work in (pb.Task(model="m"), *works))
        client.send(MessageType.TASK, payload, sequence=next(cluster.numbers))
        expected, task = pb.Task.FromString(payload), worker.task()
        if KINDS[last].seeded:
            getattr(expected, last).seed = getattr(task, last).seed
        task.id = 0
        assert task == expected


def resident():
    """Return the bytes of memory that this process has in use, without what is free in its heap."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("resume", [None, pb.Resume(text="a", model=pb.ModelIdentity(weights="w"))])
def test_large_tasks_that_wait_take_their_bytes_and_no_more(cluster, resume):
    cluster.worker(state=pb.STARTING)
    client = cluster.client()
    prompt, before = "x" * (16 << 20), resident()
    for _ in range(6):
        client.ask(text=pb.TextTask(prompt=prompt), resume=resume)
    assert client.status().queued == 6
    assert resident() - before < 1.5 * 6 * len(prompt)


def test_small_bytes_that_decode_into_much_take_no_more_while_they_wait(cluster):
    cluster.worker(state=pb.STARTING)
    client = cluster.client()
    text = pb.TextTask(messages=[pb.ChatMessage()] * 30_000)
    client.ask(text=text)
    before = resident()
    for _ in range(60):
        client.ask(text=text)
    assert client.status().queued == 61
    assert resident() - before < 2 * 60 * 64 * 1024


def test_what_a_task_resumes_counts_as_its_memory(new_cluster):
    cluster = new_cluster(HeadLimits(tasks_memory=1 << 20))
    cluster.worker(state=pb.STARTING)
    client = cluster.client()
    for _ in range(2):
        client.ask(resume=pb.Resume(tokens=[1] * 20_000, index=1))
    assert client.error().code == pb.QUEUE_FULL


def test_large_tasks_that_are_over_take_nothing(cluster):
    worker, client = cluster.worker(), cluster.client()
    prompt, before = "x" * (16 << 20), resident()
    for _ in range(6):
        task_id = client.ask(text=pb.TextTask(prompt=prompt))
        worker.answer(worker.task(), text="t")
        assert client.result().id == task_id
    assert resident() - before < 2 * len(prompt)
