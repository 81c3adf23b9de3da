"""What becomes of a TASK when it comes: the first table of docs/cluster.md, "A job's states"."""

import asyncio
import json
import signal

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from support.peers.cast import Cast
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

CANCEL, ERROR, HEARTBEAT, RESULT, TASK = (
    MessageType.CANCEL,
    MessageType.ERROR,
    MessageType.HEARTBEAT,
    MessageType.RESULT,
    MessageType.TASK,
)


@pytest.mark.rule("unreadable")
@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff", bytes((32 << 20) + 1), b'{"id": 5' + b" " * (4 << 20) + b"}"],
    ids=["nonsense", "too large", "too large in JSON"],
)
async def test_task_that_cannot_be_read_is_refused(
    head: HeadProcess, cast: Cast, payload: bytes
) -> None:
    client = await cast.client(head)
    sequence = client.send(TASK, payload)
    if payload.startswith(b"{"):
        refusal = (await client.next(RESULT)).error
    else:
        refusal = await client.next(ERROR)
        assert refusal.id == sequence
    assert refusal.code == pb.BAD_REQUEST


@pytest.mark.rule("repeated")
async def test_task_that_is_repeated_runs_once(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(TASK, cast.task())
    assigned = await worker.next(TASK)
    client.send(TASK, cast.task())
    await client.settle()
    await worker.answer(assigned, "done")
    assert (await client.next(RESULT)).text == "done"
    client.send(TASK, cast.task())
    await client.settle()
    await worker.settle()
    assert not worker.waiting(TASK)
    assert not client.waiting(RESULT)


@pytest.mark.rule("repeated")
async def test_clients_may_use_the_same_ids(head: HeadProcess, cast: Cast) -> None:
    worker = await cast.worker(head)
    for _ in range(2):
        client = await cast.client(head)
        client.send(TASK, cast.task())
        await worker.answer(await worker.next(TASK), "done")
        assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("cancelled-before")
async def test_cancel_that_overtakes_its_task_counts(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(CANCEL, pb.Cancel(id=1))
    await client.settle()
    client.send(TASK, cast.task())
    await client.settle()
    await worker.settle()
    assert not worker.waiting(TASK)
    assert not client.waiting(ERROR)


@pytest.mark.rule("status")
async def test_status_is_answered_by_the_head(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(TASK, pb.Task(id=9, status=pb.StatusTask()))
    part = await client.next(RESULT)
    assert (part.id, part.index, part.final) == (9, 0, True)
    ids = [known.heartbeat.worker_id for known in part.status.workers]
    assert worker.heartbeat.worker_id in ids


@pytest.mark.rule("incomplete")
@pytest.mark.parametrize(
    "task", [pb.Task(id=1, model="any"), pb.Task(id=1, text=pb.TextTask(prompt="-"))]
)
async def test_task_without_work_or_model_is_refused(
    head: HeadProcess, cast: Cast, task: pb.Task
) -> None:
    client = await cast.client(head)
    client.send(TASK, task)
    refusal = await client.next(ERROR)
    assert (refusal.id, refusal.code) == (1, pb.BAD_REQUEST)
    assert refusal.message and refusal.remedy


@pytest.mark.rule("assigned")
async def test_task_goes_to_a_worker_under_an_id_that_is_the_heads(
    head: HeadProcess, cast: Cast
) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(TASK, cast.task(client="somebody"))
    assigned = await worker.next(TASK)
    assert assigned.id not in (0, 1)
    assert assigned.text.prompt == "count"
    assert assigned.text.HasField("seed")
    assert not assigned.client
    assert not assigned.HasField("resume")


@pytest.mark.rule("assigned")
async def test_task_may_be_json_and_is_answered_in_json(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(TASK, json.dumps({"model": cast.model, "text": {"prompt": "-"}}).encode())
    await worker.answer(await worker.next(TASK), "done")
    assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("no-worker")
async def test_task_that_no_worker_may_run_is_refused(hasty_head: HeadProcess, cast: Cast) -> None:
    client = await cast.client(hasty_head)
    client.send(TASK, cast.task(worker_id="nobody"))
    assert (await client.next(ERROR)).code == pb.NO_WORKER
    await cast.worker(hasty_head)
    client.send(TASK, cast.task(2, model="none-has-this"))
    refusal = await client.next(ERROR)
    assert (refusal.id, refusal.code) == (2, pb.MODEL_NOT_FOUND)
    assert cast.model in refusal.remedy


@pytest.mark.rule("no-worker")
async def test_task_that_no_model_can_do_is_refused_with_those_that_can(
    hasty_head: HeadProcess, cast: Cast
) -> None:
    seeing = pb.ModelStatus(
        name=f"{cast.model}-sees",
        kind=pb.TEXT,
        state=pb.LOADED,
        capabilities=[pb.CHAT, pb.SEE],
    )
    await cast.worker(hasty_head)
    await cast.worker(hasty_head, models=[seeing])
    client = await cast.client(hasty_head)
    image = pb.ContentPart(image=pb.Media(data=b"-", type="image/png"))
    look = pb.TextTask(messages=[pb.ChatMessage(role="user", parts=[image])])
    client.send(TASK, cast.task(text=look))
    refusal = await client.next(ERROR)
    assert refusal.code == pb.UNSUPPORTED
    assert seeing.name in refusal.remedy


@pytest.mark.rule("no-worker")
async def test_names_in_refusals_can_be_shown_on_a_terminal(head: HeadProcess, cast: Cast) -> None:
    hostile, shown = "\x1b[2J\u202e\nm", "\\x1b[2J\\u202e\\x0am"
    await cast.worker(
        head,
        name=f"worker {hostile}",
        tags=[hostile],
        models=[
            pb.ModelStatus(
                name=f"{cast.model} {hostile}",
                kind=pb.TEXT,
                state=pb.LOADED,
                capabilities=[pb.CHAT, pb.COMPLETE],
            )
        ],
    )
    client = await cast.client(head)
    client.send(TASK, cast.task(1, model=hostile, tags=[hostile]))
    missing = await client.next(ERROR)
    assert missing.code == pb.MODEL_NOT_FOUND
    assert f'has the model "{shown}"' in missing.message
    assert f"there is {cast.model} {shown}" in missing.remedy
    client.send(
        TASK, cast.task(2, model=f"{cast.model} {hostile}", embed=pb.EmbedTask(inputs=["a"]))
    )
    unable = await client.next(ERROR)
    assert unable.message.startswith(f"{cast.model} {shown} cannot ")
    client.send(TASK, cast.task(3, tags=[hostile, f"other {hostile}"]))
    untagged = await client.next(ERROR)
    assert untagged.message == f'no worker has the tag "other {shown}"'
    assert f'"{shown}"' in untagged.remedy
    client.send(TASK, cast.task(4, worker_id=hostile))
    assert f'there is no worker "{shown}"' in (await client.next(ERROR)).message


@pytest.mark.rule("assigned")
async def test_task_goes_to_a_worker_with_all_its_tags_and_a_model_that_can_do_it(
    head: HeadProcess, cast: Cast
) -> None:
    def model(*capabilities: pb.Capability) -> list[pb.ModelStatus]:
        return [
            pb.ModelStatus(
                name=cast.model, kind=pb.TEXT, state=pb.LOADED, capabilities=capabilities
            )
        ]

    await cast.worker(head, tags=["eu"], models=model(pb.COMPLETE, pb.SCHEMA))
    await cast.worker(head, tags=["eu", "fast"], models=model(pb.COMPLETE))
    fit = await cast.worker(head, tags=["fast", "eu"], models=model(pb.COMPLETE, pb.SCHEMA))
    client = await cast.client(head)
    json_only = pb.TextTask(prompt="-", constraint=pb.Constraint(json=True))
    for number in range(4):
        client.send(TASK, cast.task(number + 1, text=json_only, tags=["eu", "fast"]))
        await fit.next(TASK)


@pytest.mark.rule("queue-full", "gave-way")
async def test_in_a_full_queue_whoever_has_most_gives_way(cast: Cast) -> None:
    async with HeadProcess(queue_size=2) as head:
        worker = await cast.worker(head, slots=1)
        many, other = await cast.client(head), await cast.client(head)
        for number in (1, 2, 3, 4):
            many.send(TASK, cast.task(number))
            await many.settle()
        refused = await many.next(ERROR)
        assert (refused.id, refused.code) == (4, pb.QUEUE_FULL)
        other.send(TASK, cast.task(7))
        gave_way = await many.next(ERROR)
        assert (gave_way.id, gave_way.code) == (3, pb.QUEUE_FULL)
        for _ in range(3):
            await worker.answer(await worker.next(TASK), "done")
        assert sorted([(await many.next(RESULT)).id, (await many.next(RESULT)).id]) == [1, 2]
        assert (await other.next(RESULT)).id == 7


@pytest.mark.rule("early")
async def test_new_head_lets_tasks_wait_for_its_workers(cast: Cast) -> None:
    async with HeadProcess() as head:
        client = await cast.client(head)
        client.send(TASK, cast.task())
        await client.settle()
        assert client.status.queued == 1
        worker = await cast.worker(head)
        await worker.answer(await worker.next(TASK), "done")
        assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("queued", "scheduled")
async def test_task_waits_for_a_free_slot(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head, slots=1), await cast.client(head)
    client.send(TASK, cast.task(1))
    first = await worker.next(TASK)
    client.send(TASK, cast.task(2))
    await client.settle()
    await worker.settle()
    assert not worker.waiting(TASK)
    await worker.answer(first, "done")
    await worker.next(TASK)
    assert (await client.next(RESULT)).id == 1


@pytest.mark.rule("refused-while-draining", "head-stopped", "question")
async def test_head_that_is_told_to_stop_says_so_and_gives_up_what_does_not_end(cast: Cast) -> None:
    async with HeadProcess(drain_timeout=3) as head:
        worker, client = await cast.worker(head), await cast.client(head)
        client.send(HEARTBEAT, b"")
        assert (await client.next(HEARTBEAT)).state == pb.READY
        client.send(TASK, cast.task(1))
        assigned = await worker.next(TASK)
        head.signal(signal.SIGTERM)
        state = pb.READY
        async with asyncio.timeout(PATIENCE):
            while state != pb.DRAINING:  # until the signal has come
                client.send(HEARTBEAT, b"")
                state = (await client.next(HEARTBEAT)).state
        client.send(TASK, cast.task(2))
        refused = await client.next(ERROR)
        assert (refused.id, refused.code) == (2, pb.SHUTTING_DOWN)
        given_up = await client.next(ERROR)
        assert (given_up.id, given_up.code) == (1, pb.SHUTTING_DOWN)
        assert (await worker.next(CANCEL)).id == assigned.id
        assert await head.ended() == 0
