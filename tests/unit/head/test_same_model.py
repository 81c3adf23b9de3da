"""An answer goes on where the same model is, or starts over."""

import pytest

from daiic.wire import daiic_pb2 as pb

ONE = pb.ModelIdentity(weights="one", tokenizer="t", quantization="4bit")
OTHER = pb.ModelIdentity(weights="other", tokenizer="t", quantization="4bit")


def loaded(identity=None, state=pb.LOADED):
    return [pb.ModelStatus(name="m", state=state, kind=pb.TEXT, identity=identity)]


def begin(client, worker, identity=ONE):
    """Let a client have two tokens of a text made by `identity`; return the worker's task."""
    client.ask(stream=True)
    task = worker.task()
    worker.answer(task, 0, text="0 ", tokens=[0], final=False, model=identity)
    worker.answer(task, 1, text="1 ", tokens=[1], final=False)
    return task


def test_the_head_tells_the_next_worker_which_model_made_the_tokens(cluster):
    first, client = cluster.worker("first", loaded(ONE)), cluster.client()
    begin(client, first)
    second = cluster.worker("second", loaded(ONE))
    first.unreachable()
    assert second.task().resume == pb.Resume(tokens=[0, 1], text="0 1 ", index=2, model=ONE)


@pytest.mark.parametrize("equal", [ONE, None], ids=["equal", "of an old worker"])
def test_a_worker_with_an_equal_model_is_preferred_to_a_faster_one_with_another(cluster, equal):
    first, client = cluster.worker("first", loaded(ONE)), cluster.client()
    begin(client, first)
    others = loaded(OTHER)
    others[0].rate = 1000.0
    unequal = cluster.worker("unequal", others)
    same = cluster.worker("same", loaded(equal))
    first.unreachable()
    assert same.tasks() and not unequal.tasks()


def test_a_worker_that_computes_in_another_precision_has_another_model(cluster):
    exact = pb.ModelIdentity(weights="one", tokenizer="t", precision="float32")
    rounded = pb.ModelIdentity(weights="one", tokenizer="t", precision="bfloat16")
    first, client = cluster.worker("first", loaded(exact)), cluster.client()
    begin(client, first, exact)
    unequal = cluster.worker("unequal", loaded(rounded))
    same = cluster.worker("same", loaded(exact))
    first.unreachable()
    assert same.task().resume.model == exact and not unequal.tasks()


def test_an_answer_waits_for_the_worker_with_an_equal_model(cluster):
    first, client = cluster.worker("first", loaded(ONE)), cluster.client()
    begin(client, first)
    same = cluster.worker("same", loaded(ONE), slots=1)
    client.ask(worker_id="same")
    busy_with = same.task()
    unequal = cluster.worker("unequal", loaded(OTHER))
    first.unreachable()
    cluster.pass_time(5)
    assert not unequal.tasks()
    same.answer(busy_with)
    assert same.task().resume.index == 2


def test_another_model_takes_over_when_no_equal_one_is_there(cluster):
    first, client = cluster.worker("first", loaded(ONE)), cluster.client()
    begin(client, first)
    unequal = cluster.worker("unequal", loaded(OTHER))
    first.unreachable()
    assert unequal.task().resume.model == ONE


def test_an_answer_without_tokens_goes_wherever_it_is_done_first(cluster):
    first, client = cluster.worker("first", loaded(ONE)), cluster.client()
    client.ask(stream=True)
    task = first.task()
    progress = pb.Progress(phase="load", done=1)
    first.answer(task, 0, progress=progress, model=ONE, final=False)
    others = loaded(OTHER)
    others[0].rate = 1000.0
    faster = cluster.worker("faster", others)
    slower = loaded(ONE)
    slower[0].rate = 1.0
    cluster.worker("slower", slower)
    first.unreachable()
    assert faster.tasks()


def test_a_part_that_starts_over_is_passed_on_and_voids_what_came_before(cluster):
    first, client = cluster.worker("first", loaded(ONE)), cluster.client()
    begin(client, first)
    second = cluster.worker("second", loaded(OTHER))
    first.unreachable()
    task = second.task()
    second.answer(task, 2, text="a ", tokens=[7], started_over=True, model=OTHER, final=False)
    third = cluster.worker("third", loaded(OTHER))
    second.unreachable()
    task = third.task()
    assert task.resume == pb.Resume(tokens=[7], text="a ", index=3, model=OTHER)
    third.answer(task, 3, text="b", tokens=[8])
    results = client.results()
    assert [part.index for part in results] == [0, 1, 2, 3]
    assert [part.started_over for part in results] == [False, False, True, False]
    assert results[2].model == OTHER


def test_a_client_that_comes_from_another_head_is_sent_to_the_same_model(cluster):
    others = loaded(OTHER)
    others[0].rate = 1000.0
    cluster.worker("unequal", others)
    same = cluster.worker("same", loaded(ONE))
    resume = pb.Resume(tokens=[1, 2], text="ab", index=2, model=ONE)
    cluster.client().ask(resume=resume)
    assert same.task().resume == resume


def test_a_waiting_answer_of_one_model_holds_up_no_other_task(cluster):
    same = cluster.worker("same", loaded(ONE), slots=1)
    client = cluster.client()
    client.ask(worker_id="same")
    unequal = cluster.worker("unequal", loaded(OTHER), slots=2)
    client.ask(resume=pb.Resume(tokens=[1], text="a", index=1, model=ONE))
    client.ask()
    assert len(same.tasks()) == 1
    assert [task.resume.index for task in unequal.tasks()] == [0]


def test_what_a_later_worker_tells_of_the_model_is_what_the_next_one_must_have(cluster):
    untold = pb.ModelIdentity(tokenizer="t", quantization="4bit")
    first, client = cluster.worker("first", loaded(untold)), cluster.client()
    begin(client, first, untold)
    second = cluster.worker("second", loaded(ONE))
    first.unreachable()
    second.answer(second.task(), text="2 ", tokens=[2], final=False, model=ONE)
    other = cluster.worker("other", loaded(OTHER))
    second.unreachable()
    assert other.task().resume.model == ONE


def test_which_model_answers_is_not_for_workers_to_say(cluster):
    worker, client = cluster.worker("w", loaded(ONE)), cluster.client()
    client.ask(stream=True)
    task = worker.task()
    worker.answer(task, 0, text="0 ", tokens=[0], final=False, model=ONE, model_name="another")
    worker.answer(task, 1, started_over=True, model_name="another")
    assert [part.model_name for part in client.results()] == ["", ""]
