"""A task waits for a busy worker that has read its prompt, unless that costs more than it saves."""

import pytest

from daiic.wire import daiic_pb2 as pb
from unit.head.test_prefixes import ask, text_of

RATE = 50.0
CHAT = text_of("chat")
READING = len(CHAT) / 80 / RATE
"""Seconds that the chat takes to read as it is reckoned, some 1.5."""
BOOK = text_of("book", 64)
"""A minute's reading."""


class Pair:
    """Two equal workers with a slot each, of which `reader` has read some prompts and is busy.

    A task takes it `usual` seconds.
    """

    def __init__(self, cluster, usual=0.5, prompts=(CHAT,), **fields):
        self.cluster = cluster
        self.reader, self.other = [
            cluster.worker(name, rates={"m": RATE}, slots=1, **fields)
            for name in ("reader", "other")
        ]
        self.client = cluster.client()
        for prompt in prompts:
            ask(self.client, prompt, worker_id="reader")
            cluster.pass_time(usual)
            self.reader.answer(self.reader.task())
        self.client.received(0x23)
        self.occupy(self.reader)

    def occupy(self, worker):
        """Give `worker` a task that it keeps until `free` is called."""
        ask(self.cluster.client(), "short", worker_id=worker.heartbeat.worker_id)
        worker.busy_with = worker.task()

    def free(self, worker):
        worker.answer(worker.busy_with)

    def placed(self):
        """Return which workers have got a task since this was asked."""
        return [worker for worker in (self.reader, self.other) for _ in worker.tasks()]


def test_a_chat_waits_for_the_worker_that_has_read_it(cluster):
    pair = Pair(cluster)
    ask(pair.client, CHAT + text_of("more", 2))
    assert pair.placed() == []
    _, waits = pair.client.status(tasks=True).tasks
    assert (waits.worker_id, waits.awaits_worker_id) == ("", "reader")
    pair.cluster.pass_time(0.4)
    assert pair.placed() == []
    pair.free(pair.reader)
    assert pair.placed() == [pair.reader]
    (runs,) = pair.client.status(tasks=True).tasks
    assert (runs.worker_id, runs.awaits_worker_id) == ("reader", "")


def test_it_does_not_wait_where_that_takes_longer_than_reading(cluster):
    pair = Pair(cluster, usual=2 * READING)
    ask(pair.client, CHAT)
    assert pair.placed() == [pair.other]


def test_it_does_not_wait_to_save_next_to_nothing(cluster):
    pair = Pair(cluster)
    ask(pair.client, text_of("chat", 1))
    assert pair.placed() == [pair.other]


def test_it_does_not_wait_where_no_task_was_ever_done(cluster):
    workers = [cluster.worker(name, rates={"m": RATE}, slots=1) for name in ("one", "two")]
    client = cluster.client()
    ask(client, CHAT, stream=True)
    (reader,) = [worker for worker in workers if worker.inbox]
    (other,) = {*workers} - {reader}
    reader.answer(reader.task(), final=False, text="Well", model=pb.ModelIdentity(weights="w"))
    ask(client, CHAT)
    assert other.task()


def test_it_does_not_wait_for_a_worker_whose_task_takes_longer_than_any(cluster):
    pair = Pair(cluster)
    pair.cluster.pass_time(5)
    ask(pair.client, CHAT)
    assert pair.placed() == [pair.other]


def test_it_waits_no_longer_than_the_reading_would_take(cluster):
    pair = Pair(cluster)
    ask(pair.client, CHAT)
    pair.cluster.pass_time(READING - 0.3)
    assert pair.placed() == []
    pair.cluster.pass_time(0.5)
    assert pair.placed() == [pair.other]


def test_it_waits_for_ten_seconds_at_most(cluster):
    pair = Pair(cluster, usual=8, prompts=[BOOK])
    ask(pair.client, BOOK)
    pair.cluster.pass_time(7)
    assert pair.placed() == []
    pair.cluster.pass_time(3.5)
    assert pair.placed() == [pair.other]


def test_it_waits_only_once(cluster):
    pair = Pair(cluster)
    ask(pair.client, "short", worker_id="reader")
    ask(pair.client, CHAT)
    pair.occupy(pair.other)
    pair.cluster.pass_time(READING + 0.5)
    assert pair.placed() == []
    pair.free(pair.reader)  # for the one before it, which should be done soon
    assert pair.placed() == [pair.reader]
    pair.free(pair.other)
    assert pair.placed() == [pair.other]


@pytest.mark.parametrize("loss", ["unreachable", "restart", "stopped", "draining", "unloaded"])
def test_a_worker_that_is_lost_is_waited_for_no_longer(cluster, loss):
    pair = Pair(cluster)
    ask(pair.client, CHAT)
    assert pair.placed() == []
    if loss == "unreachable":
        pair.reader.unreachable()
    elif loss == "restart":
        pair.reader.restart()
    elif loss == "unloaded":
        pair.reader.heartbeat.models[0].state = pb.LOADING
        pair.reader.beat()
    else:
        pair.reader.say(state=pb.STOPPED if loss == "stopped" else pb.DRAINING)
    assert pair.placed()


def test_those_behind_it_are_not_held_up(cluster):
    pair = Pair(cluster)
    pair.occupy(pair.other)
    chat = ask(pair.client, CHAT)
    new = ask(pair.client, text_of("new"))
    pair.free(pair.other)
    pair.client.inbox.clear()
    (got,) = pair.other.tasks()
    pair.other.answer(got)
    assert pair.client.result().id == new
    pair.free(pair.reader)
    pair.reader.answer(pair.reader.task())
    assert pair.client.result().id == chat


def test_who_has_had_less_goes_first_even_where_another_waits_for_the_worker(cluster):
    pair = Pair(cluster)
    pair.occupy(pair.other)
    rich, poor = pair.client, pair.cluster.client("192.0.2.77")
    ask(rich, text_of("new"))
    pair.free(pair.other)
    counted = pair.other.task()  # as it has waited
    ask(rich, CHAT)
    pair.other.answer(counted)
    assert pair.placed() == []
    rich.inbox.clear()
    task = poor.ask(worker_id="reader")
    pair.free(pair.reader)
    pair.reader.answer(pair.reader.task())
    assert (poor.result().id, rich.results()) == (task, [])
    assert pair.placed() == [pair.reader]


def test_as_many_wait_as_it_should_have_room_for_in_time(cluster):
    pair = Pair(cluster)
    for _ in range(4):  # until it has room for each, half a second more passes
        ask(pair.client, CHAT)
    assert pair.placed() == [pair.other]
    pair.free(pair.reader)
    for _ in range(3):
        pair.reader.answer(pair.reader.task())
    assert pair.placed() == []


def test_the_time_in_which_a_prompt_was_really_read_counts(cluster):
    pair = Pair(cluster)
    ask(pair.client, text_of("another"), worker_id="other", stream=True)
    task = pair.other.task()
    pair.cluster.now += 0.2
    pair.other.answer(task, final=False, text="Well", model=pb.ModelIdentity(weights="w"))
    pair.other.answer(task, index=1, usage=pb.Usage(prompt_tokens=1500))
    ask(pair.client, CHAT)  # the other one reads it in 0.2 s, and half a second would be waited
    assert pair.placed() == [pair.other]


def test_what_has_to_be_done_soon_does_not_wait(cluster):
    pair = Pair(cluster)
    ask(pair.client, CHAT, deadline_ms=3000)
    assert pair.placed() == [pair.other]


def test_no_task_is_refused_or_given_up_because_another_waits_by_choice(new_cluster):
    pair = Pair(new_cluster(queue_size=1))
    ask(pair.client, CHAT)
    assert pair.placed() == []
    pinned = pair.cluster.client("192.0.2.77")
    pinned.ask(worker_id="reader")
    assert pair.placed() == [pair.other]
    assert not pair.client.errors() + pinned.errors()
    pair.free(pair.reader)
    assert pair.placed() == [pair.reader]


def test_a_task_that_was_lost_elsewhere_does_not_wait(cluster):
    pair = Pair(cluster)
    third = cluster.worker("third", rates={"m": RATE}, slots=1)
    cluster.pass_time(5)
    ask(pair.client, CHAT)
    (got,) = [worker for worker in (pair.other, third) if worker.inbox]
    (left,) = {pair.other, third} - {got}
    pair.free(pair.reader)
    pair.occupy(pair.reader)  # which should be done soon, unlike what it had when the chat came
    got.unreachable()
    assert left.task()


def test_one_that_is_cancelled_while_it_waits_leaves_nothing_behind(cluster):
    pair = Pair(cluster)
    first = ask(pair.client, CHAT)
    pair.client.cancel(first)
    for _ in range(2):  # as many wait as before
        ask(pair.client, CHAT)
    assert pair.placed() == []
    pair.free(pair.reader)
    assert pair.placed() == [pair.reader]
