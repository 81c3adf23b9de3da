"""A client among heads that answer, err, leave or say nothing."""

import asyncio
import time

import pytest

from daiic.client import ClusterClient, cluster, heads
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire import udp
from daiic.wire.clock import PAUSE
from daiic.wire.limits import Limits
from daiic.wire.messages import MessageType
from daiic.wire.udp import InsecureBind
from support.peers.scripted_head import ScriptedHead

NOBODY = "127.0.0.1:9"


@pytest.fixture
async def head():
    async with ScriptedHead() as head:
        yield head


@pytest.fixture
async def other():
    async with ScriptedHead() as head:
        yield head


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Everything that takes seconds takes a tenth of them."""
    for name in ("PING_INTERVAL", "REPEAT_AFTER", "PATIENCE"):
        monkeypatch.setattr(cluster, name, getattr(cluster, name) / 10)
    monkeypatch.setattr(heads, "HEAD_SILENCE", heads.HEAD_SILENCE / 10)


def hello() -> pb.Task:
    return pb.Task(model="m", stream=True, text=pb.TextTask(prompt="hello"))


async def collected(client: ClusterClient) -> str:
    return "".join([part.text async for part in client.run(hello())])


async def test_parts_are_yielded_in_order_and_answer_joins_them(head):
    async with ClusterClient([head.address]) as client:
        answer = asyncio.create_task(client.answer(hello()))
        task = await head.task()
        head.answer(task, 2, final=True, finish_reason=pb.FINISH_REASON_STOP)
        head.answer(task, 1, text="b", tokens=[2])
        head.answer(task, 0, text="a", tokens=[1])
        whole = await answer
        assert (whole.text, list(whole.tokens)) == ("ab", [1, 2])
        assert whole.finish_reason == pb.FINISH_REASON_STOP


ONE, OTHER = pb.ModelIdentity(weights="one"), pb.ModelIdentity(weights="other")


async def test_another_head_is_told_which_model_made_the_answer(head, other):
    async with ClusterClient([head.address, other.address]) as client:
        parts = client.run(hello())
        first = asyncio.create_task(anext(parts))
        task = await head.task()
        head.answer(task, 0, text="a", tokens=[1], model=ONE)
        await first
        head.fail(task, pb.SHUTTING_DOWN)
        second = asyncio.create_task(anext(parts))
        task = await other.task()
        assert task.resume == pb.Resume(tokens=[1], text="a", index=1, model=ONE)
        other.answer(task, 1, text="x", tokens=[7], model=OTHER, started_over=True)
        assert (await second).started_over
        await parts.aclose()


async def test_an_answer_is_resumed_after_it_started_over_without_what_is_void(head, other):
    async with ClusterClient([head.address, other.address]) as client:
        answer = asyncio.create_task(client.answer(hello()))
        task = await head.task()
        head.answer(task, 0, text="void", tokens=[1], model=ONE)
        head.answer(task, 1, text="x", tokens=[7], model=OTHER, started_over=True)
        await asyncio.sleep(cluster.PING_INTERVAL)
        head.fail(task, pb.SHUTTING_DOWN)
        task = await other.task()
        assert task.resume == pb.Resume(tokens=[7], text="x", index=2, model=OTHER)
        other.answer(task, 2, text="y", tokens=[8], final=True)
        whole = await answer
        assert (whole.text, list(whole.tokens)) == ("xy", [7, 8])


async def test_task_without_room_fails_at_once_and_the_others_go_on(head, monkeypatch):
    monkeypatch.setattr(udp, "Limits", lambda: Limits(peer_memory=100_000))
    async with ClusterClient([head.address]) as client:
        answer = asyncio.create_task(client.answer(hello()))
        task = await head.task()
        with pytest.raises(TaskError, match="no room") as raised:
            await client.answer(pb.Task(model="m", text=pb.TextTask(prompt="x" * 100_000)))
        assert raised.value.name == "QUEUE_FULL"
        head.answer(task, 0, text="fine", final=True)
        assert (await answer).text == "fine"


@pytest.mark.rule("task-error")
async def test_error_is_raised_with_its_name_and_remedy(head):
    async with ClusterClient([head.address]) as client:
        answer = asyncio.create_task(client.answer(hello()))
        head.fail(await head.task(), pb.QUEUE_FULL)
        with pytest.raises(TaskError, match="no: do otherwise") as raised:
            await answer
        assert raised.value.name == "QUEUE_FULL"


async def test_pause_of_the_client_is_not_the_silence_of_its_head(head):
    async with ClusterClient([head.address]) as client:
        answer = asyncio.create_task(client.answer(hello()))
        task = await head.task()
        time.sleep(PAUSE + 0.1)  # noqa: ASYNC251
        await asyncio.sleep(cluster.PING_INTERVAL)
        head.answer(task, 0, text="still here", final=True)
        assert (await answer).text == "still here"


async def test_closing_the_answer_cancels_the_task(head):
    async with ClusterClient([head.address]) as client:
        parts = client.run(hello())
        first = asyncio.create_task(anext(parts))
        task = await head.task()
        head.answer(task, 0, text="a")
        await first
        await parts.aclose()
        assert await head.cancelled.get() == task.id


@pytest.mark.rule("all-lost")
async def test_without_any_head_the_error_says_where_it_looked():
    async with ClusterClient([NOBODY]) as client:
        with pytest.raises(TaskError, match=r"127\.0\.0\.1:9") as raised:
            await client.answer(hello())
        assert raised.value.code == pb.HEAD_UNREACHABLE
        assert "daiic-head" in raised.value.remedy


@pytest.mark.rule("preferred", "head-silent")
async def test_second_head_serves_when_the_first_is_not_there(head):
    async with ClusterClient([NOBODY, head.address]) as client:
        answer = asyncio.create_task(collected(client))
        head.answer(await head.task(), 0, text="here", final=True)
        assert await answer == "here"
        began = time.monotonic()
        answer = asyncio.create_task(collected(client))
        head.answer(await head.task(), 0, text="again", final=True)
        assert await answer == "again"
        assert time.monotonic() - began < 0.1


async def test_head_whose_name_is_not_found_does_not_keep_from_the_others(head, caplog, capsys):
    async with ClusterClient(["no-such-host.invalid:7717", head.address]) as client:
        answer = asyncio.create_task(collected(client))
        head.answer(await head.task(), 0, text="here", final=True)
        assert await answer == "here"
    assert "no-such-host.invalid:7717" in caplog.text
    assert capsys.readouterr().out == ""
    with pytest.raises(OSError):
        await ClusterClient(["no-such-host.invalid:7717"]).__aenter__()
    with pytest.raises(ValueError, match="host:port"):
        await ClusterClient([head.address, "nonsense"]).__aenter__()


async def check_stream_moves(
    client: ClusterClient, head: ScriptedHead, other: ScriptedHead
) -> None:
    """Let `head` die in the middle of a stream, and `other` go on with it."""
    answer = asyncio.create_task(collected(client))
    task = await head.task()
    head.answer(task, 0, text="one ", tokens=[1])
    await asyncio.sleep(0.3)
    await head.close()
    moved = await other.task()
    assert moved.id != task.id
    assert moved.resume == pb.Resume(tokens=[1], text="one ", index=1)
    assert moved.text.seed == task.text.seed
    other.answer(moved, 1, text="two", final=True)
    assert await answer == "one two"


@pytest.mark.rule("head-silent")
async def test_stream_moves_from_a_head_that_dies_and_goes_on(head, other):
    async with ClusterClient([head.address, other.address]) as client:
        await check_stream_moves(client, head, other)


@pytest.mark.rule("heads-told")
async def test_one_head_is_enough_to_learn_of_the_other(head, other, capsys):
    head.presence.heads.extend([head.address, other.address, "head.example:7717", "192.0.2.1:7717"])
    async with ClusterClient([head.address]) as client:
        await check_stream_moves(client, head, other)
    assert capsys.readouterr().out == ""


@pytest.mark.rule("not-asked", "all-lost")
async def test_heads_named_by_others_than_heads_do_not_count(head, other):
    async with ScriptedHead() as stranger, ClusterClient([head.address]) as client:
        answer = asyncio.create_task(collected(client))
        task = await head.task()
        presence = pb.Presence(state=pb.READY, heads=[other.address])
        stranger.send(MessageType.HEARTBEAT, presence.SerializeToString(), to=head.client)
        await asyncio.sleep(0.5)
        await head.close()
        with pytest.raises(TaskError, match="no head answers"):
            await answer
        assert not other.has_tasks()
        assert task.id


@pytest.mark.rule("head-draining")
async def test_head_that_says_it_is_shutting_down_gets_no_new_task(head, other):
    head.presence.state = pb.DRAINING
    async with ClusterClient([head.address, other.address]) as client:
        first = asyncio.create_task(collected(client))
        task = await head.task()
        await asyncio.sleep(0.3)
        second = asyncio.create_task(collected(client))
        other.answer(await other.task(), 0, text="here", final=True)
        assert await second == "here"
        head.answer(task, 0, text="finished", final=True)
        assert await first == "finished"


@pytest.mark.rule("head-stopping")
async def test_task_refused_by_a_head_that_shuts_down_goes_to_another(head, other):
    async with ClusterClient([head.address, other.address]) as client:
        answer = asyncio.create_task(collected(client))
        task = await head.task()
        await asyncio.sleep(0.2)
        head.fail(task, pb.SHUTTING_DOWN)
        other.answer(await other.task(), 0, text="here", final=True)
        assert await answer == "here"


@pytest.mark.rule("head-stopping")
async def test_refused_task_goes_to_another_head_once_that_one_serves(head, other):
    other.presence = pb.Presence(state=pb.DRAINING)
    async with ClusterClient([head.address, other.address]) as client:
        answer = asyncio.create_task(collected(client))
        task = await head.task()
        await asyncio.sleep(0.2)
        head.fail(task, pb.SHUTTING_DOWN)
        other.presence = pb.Presence(state=pb.READY)
        other.answer(await other.task(), 0, text="here", final=True)
        assert await answer == "here"


@pytest.mark.rule("no-news")
async def test_task_without_news_is_sent_again_with_what_has_come(head):
    async with ClusterClient([head.address]) as client:
        answer = asyncio.create_task(collected(client))
        task = await head.task()
        head.answer(task, 0, text="one ", tokens=[1])
        again = await head.task()
        assert (again.id, again.resume.index) == (task.id, 1)
        head.answer(again, 1, text="two", final=True)
        assert await answer == "one two"


@pytest.mark.parametrize("fails", [False, True])
async def test_an_answer_that_has_ended_is_not_asked_for_again_before_it_is_read(
    head, other, fails
):
    async with ClusterClient([head.address, other.address]) as client:
        parts = client.run(hello())
        first = asyncio.create_task(anext(parts))
        task = await head.task()
        head.answer(task, 0, text="one ", tokens=[1])
        await first
        if fails:
            head.fail(task, pb.INTERNAL)
        else:
            head.answer(task, 1, text="two", final=True)
        await asyncio.sleep(3 * cluster.REPEAT_AFTER)
        await head.close()
        await asyncio.sleep(2 * heads.HEAD_SILENCE)
        assert not head.has_tasks() and not other.has_tasks()
        if fails:
            with pytest.raises(TaskError):
                await anext(parts)
        else:
            assert (await anext(parts)).text == "two"


@pytest.mark.rule("gap", "wrong-head")
async def test_part_that_never_comes_is_asked_for_under_a_new_id(head):
    async with ClusterClient([head.address]) as client:
        answer = asyncio.create_task(collected(client))
        task = await head.task()
        head.answer(task, 0, text="one ")
        head.answer(task, 2, text="lost ")
        assert await head.cancelled.get() == task.id
        again = await head.task()
        assert again.id != task.id
        assert again.resume.index == 1
        head.answer(task, 1, text="late ")
        head.answer(again, 1, text="two", final=True)
        assert await answer == "one two"


@pytest.mark.rule("wrong-head")
async def test_answers_count_only_from_the_head_that_has_the_task(head, other):
    async with ClusterClient([head.address, other.address]) as client:
        answer = asyncio.create_task(collected(client))
        task = await head.task()
        forged = pb.Result(id=task.id, index=0, final=True, text="forged").SerializeToString()
        other.send(MessageType.RESULT, forged, to=head.client)
        error = pb.Error(id=task.id, code=pb.INTERNAL).SerializeToString()
        other.send(MessageType.ERROR, error, to=head.client)
        await asyncio.sleep(0.1)
        head.answer(task, 0, text="here", final=True)
        assert await answer == "here"


async def test_what_cannot_be_decoded_is_not_taken_for_an_answer(head):
    async with ClusterClient([head.address]) as client:
        answer = asyncio.create_task(collected(client))
        task = await head.task()
        for kind in (MessageType.RESULT, MessageType.ERROR):
            head.send(kind, b"\xff\xff")
        head.answer(task, 0, text="here", final=True)
        assert await answer == "here"


async def test_models_are_listed_those_loaded_first(head):
    def worker(**states: pb.ModelState) -> pb.WorkerStatus:
        models = [pb.ModelStatus(name=name, state=state) for name, state in states.items()]
        return pb.WorkerStatus(heartbeat=pb.Heartbeat(models=models))

    async with ClusterClient([head.address]) as client:
        listing = asyncio.create_task(client.models())
        status = pb.ClusterStatus(workers=[worker(a=pb.AVAILABLE), worker(b=pb.LOADED)])
        head.answer(await head.task(), 0, final=True, status=status)
        assert [model.name for model in await listing] == ["b", "a"]


async def test_remote_head_needs_a_key():
    with pytest.raises(InsecureBind, match=r"192\.0\.2\.1:7717 .* cluster_key_file"):
        await ClusterClient(["127.0.0.1:7717", "192.0.2.1:7717"]).__aenter__()
