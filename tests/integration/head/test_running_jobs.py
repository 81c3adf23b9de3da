"""What becomes of a job that is queued or assigned: the tables of docs/cluster.md."""

import asyncio

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from support.peers.cast import Cast
from support.peers.scripted_peer import ScriptedPeer, ScriptedWorker
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

CANCEL, ERROR, HEARTBEAT, RESULT, TASK = (
    MessageType.CANCEL,
    MessageType.ERROR,
    MessageType.HEARTBEAT,
    MessageType.RESULT,
    MessageType.TASK,
)


def part(task: pb.Task, index: int, **fields: object) -> pb.Result:
    """Return a part of the answer to `task`, with text and a token that say which."""
    defaults: dict[str, object] = {"text": f"{index} ", "tokens": [index]}
    return pb.Result(id=task.id, index=index, **(defaults | fields))


def error(task: pb.Task, code: pb.ErrorCode) -> pb.Error:
    return pb.Error(id=task.id, code=code, message="it failed", remedy="see the test")


async def started(
    head: HeadProcess, cast: Cast, parts: int = 0
) -> tuple[ScriptedPeer, ScriptedWorker, pb.Task]:
    """Return a client, a worker, and the task that the worker got and has answered `parts` of."""
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(TASK, cast.task())
    task = await worker.next(TASK)
    for index in range(parts):
        worker.send(RESULT, part(task, index))
        assert (await client.next(RESULT)).index == index
    return client, worker, task


# ------------------------------------------------------------------ answers


@pytest.mark.rule("part", "early-part", "known-part", "answered")
async def test_parts_are_passed_on_in_order_and_once(head: HeadProcess, cast: Cast) -> None:
    client, worker, task = await started(head, cast)
    for index in (2, 1, 2, 0, 0, 1):
        worker.send(RESULT, part(task, index))
    worker.send(RESULT, part(task, 3, final=True))
    worker.send(RESULT, part(task, 4))
    await worker.settle()
    await client.settle()
    passed_on = sorted(client.waiting(RESULT), key=lambda p: p.index)
    assert [(p.id, p.index, p.text, p.final) for p in passed_on] == [
        (1, 0, "0 ", False),
        (1, 1, "1 ", False),
        (1, 2, "2 ", False),
        (1, 3, "3 ", True),
    ]


@pytest.mark.rule("foreign")
async def test_answers_count_only_from_the_worker_that_has_the_task(
    head: HeadProcess, cast: Cast
) -> None:
    client, worker, task = await started(head, cast)
    stranger, colleague = await cast.client(head), await cast.worker(head)
    for other in (stranger, colleague):
        other.send(RESULT, part(task, 0, text="forged", final=True))
        other.send(ERROR, error(task, pb.BAD_REQUEST))
        await other.settle()
    await worker.answer(task, "done")
    assert (await client.next(RESULT)).text == "done"
    assert not client.waiting(ERROR)


@pytest.mark.rule("worker-moved")
async def test_answer_begins_again_when_its_worker_has_another_address(
    head: HeadProcess, cast: Cast
) -> None:
    client, worker, task = await started(head, cast, parts=1)
    moved = await cast.socket(head)
    moved.send(RESULT, part(task, 1))
    await moved.settle()
    await worker.silent()
    await moved.register(worker.heartbeat)
    assert (await moved.next(CANCEL)).id == task.id
    again = await moved.next(TASK)
    assert again.id != task.id
    assert (again.resume.index, list(again.resume.tokens)) == (1, [0])
    moved.send(RESULT, part(again, 1, final=True))
    assert (await client.next(RESULT)).text == "1 "


@pytest.mark.rule("started-over")
async def test_answer_that_started_over_is_passed_on_as_such_and_resumed_from_there(
    head: HeadProcess, cast: Cast
) -> None:
    one, two = pb.ModelIdentity(weights="one"), pb.ModelIdentity(weights="two")
    client, worker, task = await started(head, cast)
    worker.send(RESULT, part(task, 0, model=one))
    await client.next(RESULT)
    second = await cast.worker(head)
    await worker.say(state=pb.STOPPED)
    task = await second.next(TASK)
    assert (list(task.resume.tokens), task.resume.index) == ([0], 1)
    assert task.resume.model == one
    second.send(RESULT, part(task, 1, model=two, started_over=True))
    over = await client.next(RESULT)
    assert (over.index, over.text, over.started_over) == (1, "1 ", True)
    third = await cast.worker(head)
    await second.say(state=pb.STOPPED)
    task = await third.next(TASK)
    assert (list(task.resume.tokens), task.resume.text, task.resume.index) == ([1], "1 ", 2)
    assert task.resume.model == two


@pytest.mark.rule("scheduled")
async def test_answer_goes_on_where_the_same_model_is(head: HeadProcess, cast: Cast) -> None:
    one, two = pb.ModelIdentity(weights="one"), pb.ModelIdentity(weights="two")
    loaded = {
        identity.weights: [
            pb.ModelStatus(name=cast.model, kind=pb.TEXT, state=pb.LOADED, identity=identity)
        ]
        for identity in (one, two)
    }
    worker, client = await cast.worker(head, models=loaded["one"]), await cast.client(head)
    client.send(TASK, cast.task())
    task = await worker.next(TASK)
    worker.send(RESULT, part(task, 0, model=one))
    await client.next(RESULT)
    await cast.worker(head, models=loaded["two"], slots=100)
    same = await cast.worker(head, models=loaded["one"])
    worker.send(ERROR, error(task, pb.INTERNAL))
    assert (await same.next(TASK)).resume.model == one


# ------------------------------------------------------- attempts that fail


@pytest.mark.rule("final-error")
@pytest.mark.parametrize("code", [pb.BAD_REQUEST, pb.MODEL_GATED, pb.UNSAFE_WEIGHTS])
async def test_error_that_no_worker_would_avoid_reaches_the_client(
    head: HeadProcess, cast: Cast, code: pb.ErrorCode
) -> None:
    client, worker, task = await started(head, cast)
    other = await cast.worker(head)
    worker.send(ERROR, error(task, code))
    said = await client.next(ERROR)
    assert (said.id, said.code, said.message, said.remedy) == (
        *(1, code),
        *("it failed", "see the test"),
    )
    await other.settle()
    assert not other.waiting(TASK)


@pytest.mark.rule("attempt-failed", "scheduled")
@pytest.mark.parametrize("code", [pb.OUT_OF_MEMORY, pb.INTERNAL, pb.WORKER_LOST, pb.CANCELLED])
async def test_task_that_failed_on_one_worker_goes_on_on_another(
    head: HeadProcess, cast: Cast, code: pb.ErrorCode
) -> None:
    client, worker, task = await started(head, cast, parts=2)
    other = await cast.worker(head)
    worker.send(ERROR, error(task, code))
    again = await other.next(TASK)
    assert again.id != task.id
    assert again.resume.index == 2
    assert (again.resume.text, list(again.resume.tokens)) == ("0 1 ", [0, 1])
    assert again.text.seed == task.text.seed
    other.send(RESULT, part(again, 2, final=True))
    last = await client.next(RESULT)
    assert (last.id, last.index, last.text, last.final) == (1, 2, "2 ", True)


@pytest.mark.rule("adapter-elsewhere", "attempts-used")
async def test_an_adapter_that_one_worker_lacks_is_looked_for_on_the_others(cast: Cast) -> None:
    async with HeadProcess(max_attempts=1) as head:
        able = pb.ModelStatus(
            name="m", kind=pb.TEXT, state=pb.LOADED, capabilities=[pb.COMPLETE, pb.ADAPTERS]
        )
        workers = [await cast.worker(head, models=[able]) for _ in range(3)]
        client = await cast.client(head)
        asked = cast.task(model="m")
        asked.adapters.add(name="style")
        client.send(TASK, asked)
        left = set(workers)
        while left:
            got = {worker: asyncio.ensure_future(worker.next(TASK)) for worker in left}
            done, waiting = await asyncio.wait(
                got.values(), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
            for one in waiting:
                one.cancel()
            (task,) = (one.result() for one in done)
            assert [adapter.name for adapter in task.adapters] == ["style"]
            worker = next(worker for worker, one in got.items() if one in done)
            left.remove(worker)
            worker.send(ERROR, error(task, pb.MODEL_NOT_FOUND))
        assert (await client.next(ERROR)).code == pb.MODEL_NOT_FOUND


@pytest.mark.rule("worker-stopping")
async def test_worker_that_is_stopping_costs_no_attempt_and_gets_no_more(cast: Cast) -> None:
    async with HeadProcess(max_attempts=1) as head:
        client, worker, task = await started(head, cast)
        other = await cast.worker(head)
        worker.send(ERROR, error(task, pb.SHUTTING_DOWN))
        await other.next(TASK)
        client.send(TASK, cast.task(2))
        await other.next(TASK)
        assert not worker.waiting(TASK)


@pytest.mark.rule("attempts-used")
async def test_task_fails_with_its_last_error_when_its_attempts_are_used(cast: Cast) -> None:
    async with HeadProcess(max_attempts=2) as head:
        client = await cast.client(head)
        workers = [await cast.worker(head) for _ in range(3)]
        client.send(TASK, cast.task())
        tried = 0
        async with asyncio.timeout(PATIENCE):
            while not client.waiting(ERROR):
                for worker in workers:
                    await worker.settle()
                    for task in worker.waiting(TASK)[:1]:
                        await worker.next(TASK)
                        worker.send(ERROR, error(task, pb.OUT_OF_MEMORY))
                        tried += 1
                await client.settle()
        assert tried == 2
        assert (await client.next(ERROR)).code == pb.OUT_OF_MEMORY


@pytest.mark.rule("attempts-used")
async def test_task_that_failed_on_the_only_worker_fails(head: HeadProcess, cast: Cast) -> None:
    client, worker, task = await started(head, cast)
    worker.send(ERROR, error(task, pb.INTERNAL))
    said = await client.next(ERROR)
    assert (said.id, said.code, said.message) == (1, pb.INTERNAL, "it failed")


@pytest.mark.rule("too-far-ahead")
async def test_worker_that_goes_too_far_ahead_loses_the_task(head: HeadProcess, cast: Cast) -> None:
    _, worker, task = await started(head, cast, parts=1)
    other = await cast.worker(head)
    worker.send(RESULT, part(task, 5000))
    assert (await worker.next(CANCEL)).id == task.id
    assert (await other.next(TASK)).resume.index == 1


@pytest.mark.rule("worker-lost", "nobody-left")
async def test_task_waits_for_its_lost_worker_only_so_long(
    hasty_head: HeadProcess, cast: Cast
) -> None:
    client, worker, _ = await started(hasty_head, cast)
    await worker.say(state=pb.STOPPED)
    await worker.silent()
    await client.settle()
    assert not client.waiting(ERROR)
    assert (await client.next(ERROR)).code == pb.WORKER_LOST


@pytest.mark.rule("nobody-left")
async def test_queued_task_fails_when_the_workers_it_waits_for_are_gone(
    hasty_head: HeadProcess, cast: Cast
) -> None:
    worker, client = await cast.worker(hasty_head, state=pb.STARTING), await cast.client(hasty_head)
    client.send(TASK, cast.task())
    await client.settle()
    assert not client.waiting(ERROR)
    await worker.say(state=pb.STOPPED)
    await worker.silent()
    assert (await client.next(ERROR)).code in (pb.NO_WORKER, pb.MODEL_NOT_FOUND)


# -------------------------------------------------------------- other endings


@pytest.mark.rule("cancelled")
async def test_cancelled_task_leaves_its_worker_and_is_not_heard_of_again(
    head: HeadProcess, cast: Cast
) -> None:
    client, worker, task = await started(head, cast, parts=1)
    client.send(CANCEL, pb.Cancel(id=1))
    assert (await worker.next(CANCEL)).id == task.id
    await worker.answer(task, "too late", index=1)
    await client.settle()
    assert not client.waiting(RESULT)
    assert not client.waiting(ERROR)


@pytest.mark.rule("cancelled")
async def test_cancelled_task_leaves_the_queue(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head, slots=1), await cast.client(head)
    for number in (1, 2, 3):
        client.send(TASK, cast.task(number, text=pb.TextTask(prompt=f"task {number}")))
        await client.settle()
    client.send(CANCEL, pb.Cancel(id=2))
    await client.settle()
    await worker.answer(await worker.next(TASK), "done")
    assert (await worker.next(TASK)).text.prompt == "task 3"


@pytest.mark.rule("client-lost")
async def test_tasks_of_a_client_that_answers_no_more_are_cancelled(
    head: HeadProcess, cast: Cast
) -> None:
    client, worker, task = await started(head, cast)
    await client.close()
    worker.send(RESULT, part(task, 0))
    assert (await worker.next(CANCEL)).id == task.id


@pytest.mark.rule("deadline")
@pytest.mark.parametrize("ask", [{"deadline_ms": 200}, {}], ids=["the task's", "the head's"])
async def test_task_ends_at_its_deadline(cast: Cast, ask: dict[str, int]) -> None:
    async with HeadProcess(task_deadline=30 if ask else 0.3) as head:
        worker, client = await cast.worker(head), await cast.client(head)
        client.send(TASK, cast.task(**ask))
        late = await client.next(ERROR)
        assert (late.id, late.code) == (1, pb.DEADLINE_EXCEEDED)
        assert (await worker.next(CANCEL)).id == (await worker.next(TASK)).id


# ------------------------------------------------------- what belongs to no job


@pytest.mark.rule("orphan-part", "orphan")
async def test_worker_is_told_to_stop_what_the_head_does_not_know(
    head: HeadProcess, cast: Cast
) -> None:
    worker = await cast.worker(head)
    unknown = pb.Task(id=4711)
    worker.send(RESULT, part(unknown, 0, final=True))
    worker.send(ERROR, error(unknown, pb.INTERNAL))
    await worker.settle()
    assert not worker.waiting(CANCEL)
    worker.send(RESULT, part(unknown, 0))
    assert (await worker.next(CANCEL)).id == 4711


@pytest.mark.rule("no-payload")
async def test_payloads_that_cannot_be_parsed_change_nothing(head: HeadProcess, cast: Cast) -> None:
    client, worker, task = await started(head, cast)
    for kind in (RESULT, ERROR, CANCEL, HEARTBEAT):
        for peer in (client, worker):
            peer.send(kind, b"\xff\xff\xff")
            await peer.settle()
    await worker.answer(task, "done")
    assert (await client.next(RESULT)).text == "done"
