"""The tasks of heads on one worker: taken once, bounded, cancelled, drained."""

import asyncio

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.events import Delivered, Message
from daiic.wire.messages import MessageType
from daiic.worker import tasks
from daiic.worker.limits import LIMITS, WorkerLimits
from daiic.worker.metrics import Statistics
from daiic.worker.tasks import Tasks

HEAD = ("127.0.0.1", 7717)
OTHER = ("127.0.0.1", 7718)
HEARTBEAT = 1 << 20
"""The number of a message that is no answer."""


class FakeLink:
    def __init__(self):
        self.buffered_bytes = 0
        self.full = False
        self.sent = []
        self.sequence = -1
        self._freed = asyncio.Event()

    def free(self):
        """Be empty from now on, and tell those who wait."""
        self.full = False
        self.buffered_bytes = 0
        self._freed.set()

    async def memory_freed(self):
        self._freed.clear()
        await self._freed.wait()

    def send(self, to, message_type, payload):
        if self.full:
            return None
        form = {MessageType.RESULT: pb.Result, MessageType.ERROR: pb.Error}[message_type]
        self.sent.append((to, form.FromString(payload)))
        self.sequence += 1
        return self.sequence

    @property
    def results(self):
        return [message for _, message in self.sent if isinstance(message, pb.Result)]

    @property
    def errors(self):
        return [message for _, message in self.sent if isinstance(message, pb.Error)]


class Desk:
    """Tasks whose answers wait for `go`, word by word."""

    def __init__(self, slots=2, words=("a", "b", "c"), starts_over_at=None):
        self.link = FakeLink()
        self.statistics = Statistics()
        self.begun = []
        self.words = words
        self.starts_over_at = starts_over_at
        self.go = asyncio.Event()
        self.fails = None
        self.rates = []
        self.tasks = Tasks(
            self.link,
            "me",
            self.answer,
            slots,
            self.statistics,
            lambda *rate: self.rates.append(rate),
        )

    async def answer(self, task):
        self.begun.append(task.id)
        await self.go.wait()
        if self.fails:
            raise self.fails
        start = task.resume.index
        for number, word in enumerate(self.words):
            await asyncio.sleep(0.001)
            last = number == len(self.words) - 1
            part = pb.Result(index=start + number, text=word, tokens=[number], final=last)
            part.started_over = number == self.starts_over_at
            yield part

    def give(self, task_id, peer=HEAD, sequence=1, stream=True, **fields):
        task = pb.Task(id=task_id, model="m", stream=stream, text=pb.TextTask(prompt="x"), **fields)
        self.tasks.take(Message(peer, MessageType.TASK, sequence, 0, task.SerializeToString()))

    def revoke(self, task_id, peer=HEAD):
        payload = pb.Cancel(id=task_id).SerializeToString()
        self.tasks.cancel(Message(peer, MessageType.CANCEL, 1, 0, payload))

    def hears(self, sequence, peer=HEAD):
        """Let `peer` acknowledge a message."""
        self.tasks.delivered(Delivered(peer, sequence, None))

    def said(self):
        """Return to whom errors were sent since this was asked, for which task, and which."""
        said = [(to, error.id, error.code) for to, error in self.link.sent]
        self.link.sent.clear()
        return said

    async def finished(self):
        async with asyncio.timeout(2):
            while self.tasks.running or self.tasks.waiting:
                await asyncio.sleep(0.002)


async def test_parts_carry_the_task_and_the_worker():
    desk = Desk()
    desk.go.set()
    desk.give(5, resume=pb.Resume(index=3))
    await desk.finished()
    assert [(r.id, r.worker_id, r.index, r.text) for r in desk.link.results] == [
        (5, "me", 3, "a"),
        (5, "me", 4, "b"),
        (5, "me", 5, "c"),
    ]
    assert desk.statistics.tokens == 3 and desk.statistics.done == 1
    assert desk.rates[0][0] == "m" and desk.rates[0][1] > 0


async def test_task_that_does_not_stream_is_answered_whole():
    desk = Desk()
    desk.go.set()
    desk.give(5, stream=False, resume=pb.Resume(index=3))
    await desk.finished()
    (whole,) = desk.link.results
    assert (whole.text, list(whole.tokens), whole.index, whole.final) == ("abc", [0, 1, 2], 3, True)


async def test_what_was_made_before_an_answer_started_over_is_left_out_of_the_whole():
    desk = Desk(words=("void", "a", "b"), starts_over_at=1)
    desk.go.set()
    desk.give(5, stream=False)
    await desk.finished()
    (whole,) = desk.link.results
    assert (whole.text, list(whole.tokens), whole.index, whole.final) == ("ab", [1, 2], 0, True)


async def test_repeated_task_runs_once_and_heads_do_not_share_ids():
    desk = Desk()
    desk.give(5)
    desk.give(5, sequence=2)
    desk.give(5, peer=OTHER)
    desk.go.set()
    await desk.finished()
    assert desk.begun == [5, 5] and desk.statistics.done == 2


async def test_task_without_an_id_is_known_by_its_sequence():
    desk = Desk()
    desk.go.set()
    desk.give(0, sequence=77)
    await desk.finished()
    assert {result.id for result in desk.link.results} == {77}


async def test_answer_waits_while_there_is_no_room_for_it():
    desk = Desk()
    desk.link.full = True
    desk.go.set()
    desk.give(5)
    await asyncio.sleep(0.1)
    assert (desk.tasks.running, desk.link.sent) == (1, [])
    desk.link.free()
    await desk.finished()
    assert [result.text for result in desk.link.results] == ["a", "b", "c"]


async def test_answer_that_waits_for_room_can_be_cancelled():
    desk = Desk()
    desk.link.full = True
    desk.go.set()
    desk.give(5)
    await asyncio.sleep(0.05)
    desk.revoke(5)
    await desk.finished()
    assert desk.link.sent == [] and desk.statistics.done == 0


async def test_tasks_cancelled_before_they_begin_leave_no_place_taken():
    desk = Desk(slots=2)
    for number in range(1, 100):
        desk.give(number)
        desk.revoke(number)
        await asyncio.sleep(0)
    desk.go.set()
    desk.give(100)
    await desk.finished()
    assert not desk.link.errors
    assert {result.id for result in desk.link.results} == {100}


async def test_memory_of_tasks_is_bounded_and_free_again_when_they_end(monkeypatch):
    monkeypatch.setattr(tasks, "LIMITS", WorkerLimits(tasks_memory=100))
    desk = Desk()
    for number in range(1, 30):
        desk.give(number)
    refused = [error.id for error in desk.link.errors]
    assert 0 < len(refused) < 29
    assert {error.code for error in desk.link.errors} == {pb.QUEUE_FULL}
    desk.go.set()
    await desk.finished()
    desk.give(refused[0])
    await desk.finished()
    assert refused[0] in {result.id for result in desk.link.results}


async def test_line_is_bounded_and_the_rest_is_refused_at_once():
    desk = Desk(slots=2)
    room = 2 * (1 + LIMITS.waiting)
    for number in range(1, room + 4):
        desk.give(number)
    await asyncio.sleep(0.01)
    assert (desk.tasks.running, desk.tasks.waiting) == (2, room - 2)
    assert [(e.id, e.code) for e in desk.link.errors] == [
        (room + extra, pb.QUEUE_FULL) for extra in (1, 2, 3)
    ]
    desk.go.set()
    await desk.finished()
    assert desk.begun == list(range(1, room + 1))


async def test_cancelled_task_ends_in_silence_and_its_slot_goes_on():
    desk = Desk(slots=1)
    desk.give(1)
    desk.give(2)
    await asyncio.sleep(0.01)
    desk.revoke(1, peer=OTHER)
    desk.revoke(1)
    desk.go.set()
    await desk.finished()
    assert {result.id for result in desk.link.results} == {2} and not desk.link.errors
    assert desk.statistics.outcomes["text", "CANCELLED"] == 1


async def test_waiting_task_can_be_cancelled():
    desk = Desk(slots=1)
    desk.give(1)
    desk.give(2)
    await asyncio.sleep(0.01)
    desk.revoke(2)
    await asyncio.sleep(0.01)
    assert (desk.tasks.running, desk.tasks.waiting) == (1, 0)
    desk.go.set()
    await desk.finished()
    assert desk.begun == [1]


async def test_tasks_of_a_lost_head_end_and_others_go_on():
    desk = Desk()
    desk.give(1)
    desk.give(2, peer=OTHER)
    await asyncio.sleep(0.01)
    desk.tasks.lost(HEAD)
    desk.go.set()
    await desk.finished()
    assert {to for to, sent in desk.link.sent if isinstance(sent, pb.Result)} == {OTHER}


async def test_lost_head_is_told_of_the_tasks_that_were_given_up_now_and_when_it_is_back():
    desk = Desk(slots=1)
    desk.give(1)
    desk.give(2)
    desk.give(3, peer=OTHER)
    await asyncio.sleep(0.01)
    told = [(HEAD, 1, pb.WORKER_LOST), (HEAD, 2, pb.WORKER_LOST)]
    desk.tasks.lost(HEAD)
    assert desk.said() == told
    desk.tasks.lost(HEAD)  # the ERRORs were not acknowledged either
    assert desk.said() == []
    desk.hears(HEARTBEAT, peer=OTHER)
    assert desk.said() == []
    desk.hears(HEARTBEAT)
    assert desk.said() == told
    desk.hears(HEARTBEAT)
    assert desk.said() == []
    desk.go.set()
    await desk.finished()
    assert desk.begun == [1, 3]


async def test_head_that_has_not_got_all_of_an_answer_is_told_though_the_task_is_done():
    desk = Desk()
    desk.go.set()
    desk.give(1)
    desk.give(2)
    await desk.finished()
    for sequence, (_, part) in enumerate(desk.link.sent):
        if part.id == 1 or part.index != 1:
            desk.hears(sequence)
    desk.link.sent.clear()
    desk.tasks.lost(HEAD)
    assert desk.said() == [(HEAD, 2, pb.WORKER_LOST)]


async def test_error_of_a_task_that_was_given_up_is_not_repeated_once_it_has_arrived():
    desk = Desk()
    desk.give(1)
    await asyncio.sleep(0.01)
    desk.tasks.lost(HEAD)
    desk.hears(len(desk.link.sent) - 1)
    desk.hears(HEARTBEAT)
    assert desk.said() == [(HEAD, 1, pb.WORKER_LOST)]


async def test_tasks_given_up_of_which_heads_are_told_later_are_bounded(monkeypatch):
    monkeypatch.setattr(tasks, "LIMITS", WorkerLimits(given_up=2))
    desk = Desk(slots=3)
    for number in (1, 2, 3):
        desk.give(number)
    await asyncio.sleep(0.01)
    desk.tasks.lost(HEAD)
    assert len(desk.said()) == 3
    desk.hears(HEARTBEAT)
    assert [task_id for _, task_id, _ in desk.said()] == [2, 3]


async def test_nothing_more_is_made_while_the_head_does_not_take_what_there_is():
    desk = Desk(words=tuple("abcdefgh"))
    desk.go.set()
    desk.link.buffered_bytes = LIMITS.unsent + 1
    desk.give(1)
    await asyncio.sleep(0.1)
    assert len(desk.link.results) == 1
    desk.link.free()
    await desk.finished()
    assert len(desk.link.results) == 8


async def test_errors_end_a_task_with_code_and_remedy():
    desk = Desk()
    desk.fails = TaskError(pb.MODEL_GATED, "it is gated", "set a token")
    desk.go.set()
    desk.give(9)
    await desk.finished()
    (error,) = desk.link.errors
    assert (error.id, error.code, error.remedy) == (9, pb.MODEL_GATED, "set a token")
    assert desk.statistics.outcomes["text", "MODEL_GATED"] == 1


async def test_fault_ends_the_task_but_not_the_worker():
    desk = Desk()
    desk.fails = ZeroDivisionError("a secret")
    desk.go.set()
    desk.give(9)
    await desk.finished()
    (error,) = desk.link.errors
    assert error.code == pb.INTERNAL and "secret" not in str(error)
    desk.fails = None
    desk.give(10)
    await desk.finished()
    assert desk.link.results[-1].final


async def test_deadline_ends_a_task_wherever_it_is():
    desk = Desk(slots=1)
    desk.give(1)
    desk.give(2, deadline_ms=20)
    await asyncio.sleep(0.1)
    assert [(error.id, error.code) for error in desk.link.errors] == [(2, pb.DEADLINE_EXCEEDED)]


@pytest.mark.parametrize("payload", [b"\xff\xff", b'{"id": "1"}'])
async def test_payload_that_is_no_task_is_refused(payload):
    desk = Desk()
    desk.tasks.take(Message(HEAD, MessageType.TASK, 42, 0, payload))
    (error,) = desk.link.errors
    assert (error.id, error.code) == (42, pb.BAD_REQUEST)


async def test_task_with_too_many_fields_is_refused_under_the_id_that_its_head_knows():
    desk = Desk()
    much = pb.Task(text=pb.TextTask(stop=["aaa"] * 20_000)).SerializeToString()
    # As heads send large tasks: the work as it came, then the rest.
    rest = pb.Task(id=2**64 - 1, model="m", text=pb.TextTask(seed=1)).SerializeToString()
    desk.tasks.take(Message(HEAD, MessageType.TASK, 3, 0, much + rest))
    (error,) = desk.link.errors
    assert (error.id, error.code) == (2**64 - 1, pb.BAD_REQUEST)
    assert not desk.begun


async def test_drain_lets_tasks_finish_and_takes_no_more():
    desk = Desk()
    desk.give(1)
    draining = asyncio.create_task(desk.tasks.drain(5))
    await asyncio.sleep(0.01)
    desk.give(2)
    assert [(error.id, error.code) for error in desk.link.errors] == [(2, pb.SHUTTING_DOWN)]
    desk.go.set()
    await draining
    assert desk.link.results[-1].final


async def test_drain_gives_up_what_takes_too_long_and_says_so():
    desk = Desk()
    desk.give(1)
    await asyncio.sleep(0.01)
    await desk.tasks.drain(0.05)
    assert [(error.id, error.code) for error in desk.link.errors] == [(1, pb.SHUTTING_DOWN)]
    assert desk.tasks.running == 0


async def test_a_rate_is_told_with_whether_the_task_ran_alone():
    desk = Desk()
    desk.go.set()
    desk.give(1)
    await desk.finished()
    desk.give(2)
    desk.give(3)
    await desk.finished()
    assert [(model, alone) for model, _, alone in desk.rates] == [
        ("m", True),
        ("m", False),
        ("m", False),
    ]
