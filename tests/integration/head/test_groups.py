"""Models that no worker can hold: who holds them together, by the rules of docs/cluster.md."""

import asyncio

import pytest
from google.protobuf import json_format

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from support.peers.cast import Cast
from support.peers.scripted_peer import ScriptedPeer, ScriptedWorker
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

GIB = 1 << 30
CANCEL, ERROR, RESULT, TASK = (
    MessageType.CANCEL,
    MessageType.ERROR,
    MessageType.RESULT,
    MessageType.TASK,
)


async def lender(head: HeadProcess, cast: Cast, number: int, takes: int = 0) -> ScriptedWorker:
    """Return a worker that lends 4 GiB, to tasks of this test alone."""
    models = [pb.ModelStatus(name=cast.model, state=pb.AVAILABLE, needs=takes * GIB)]
    return await cast.worker(
        head,
        models=models if takes else [],
        tags=[cast.model],
        ram=pb.Memory(total=4 * GIB, free=4 * GIB),
        shard=pb.ShardOffer(address=f"127.0.0.1:{7000 + number}", bytes=4 * GIB),
    )


async def group(
    head: HeadProcess, cast: Cast, others: int = 2
) -> tuple[ScriptedPeer, ScriptedWorker, dict[str, ScriptedWorker], pb.Task]:
    """Return a client, who leads, the others by id, and the task that was given a plan."""
    lead = await lender(head, cast, 0, takes=10)
    lending = [await lender(head, cast, number + 1) for number in range(others)]
    client = await cast.client(head)
    client.send(TASK, cast.task(1, tags=[cast.model]))
    by_id = {worker.heartbeat.worker_id: worker for worker in lending}
    return client, lead, by_id, await lead.next(TASK)


def members(task: pb.Task) -> set[str]:
    return {member.worker_id for member in task.shards.members}


@pytest.mark.rule("group-formed", "group-kept")
async def test_one_worker_leads_and_gets_every_task_with_the_same_plan(
    head: HeadProcess, cast: Cast
) -> None:
    client, lead, others, task = await group(head, cast)
    assert members(task) == others.keys()
    for member in task.shards.members:
        assert member.address == others[member.worker_id].heartbeat.shard.address
        assert 0 < member.bytes <= 4 * GIB
    client.send(TASK, cast.task(2, tags=[cast.model]))
    assert (await lead.next(TASK)).shards == task.shards
    for worker in others.values():
        await worker.settle()
        assert not worker.waiting(TASK)


@pytest.mark.rule("member-gone")
async def test_answer_goes_on_with_another_member_when_one_is_gone(
    head: HeadProcess, cast: Cast
) -> None:
    client, lead, others, task = await group(head, cast, others=3)
    lead.send(RESULT, pb.Result(id=task.id, index=0, text="0 ", tokens=[5]))
    await client.next(RESULT)
    gone = sorted(members(task))[0]
    await others[gone].say(state=pb.STOPPED)
    assert (await lead.next(CANCEL)).id == task.id
    again = await lead.next(TASK)
    assert len(members(again)) == 2 and gone not in members(again)
    assert list(again.resume.tokens) == [5]
    lead.send(RESULT, pb.Result(id=again.id, index=1, text="1", tokens=[6], final=True))
    assert (await client.next(RESULT)).text == "1"


@pytest.mark.rule("member-failed")
async def test_member_that_the_lead_has_lost_is_left_out(head: HeadProcess, cast: Cast) -> None:
    _, lead, _, task = await group(head, cast, others=3)
    lost = sorted(members(task))[0]
    reason = f"{lost} is not reached at 127.0.0.1:1"
    lead.send(ERROR, pb.Error(id=task.id, code=pb.WORKER_LOST, message=reason))
    again = await lead.next(TASK)
    assert len(members(again)) == 2 and lost not in members(again)


@pytest.mark.rule("group-idle")
async def test_group_without_tasks_ends_when_another_model_needs_its_memory(
    head: HeadProcess, cast: Cast
) -> None:
    client, lead, others, task = await group(head, cast)
    held = lead.heartbeat.models[0]
    held.state = pb.LOADED
    held.shards.add(worker_id=lead.heartbeat.worker_id, bytes=task.shards.bytes)
    for member in task.shards.members:
        held.shards.add(worker_id=member.worker_id, bytes=member.bytes)
    await lead.say()
    lead.send(RESULT, pb.Result(id=task.id, text="1", final=True))
    await client.next(RESULT)
    other = next(iter(others.values()))
    model = f"other-{cast.model}"
    other.heartbeat.models.add(name=model, state=pb.AVAILABLE, needs=10 * GIB)
    await other.say()
    client.send(TASK, cast.task(2, model=model, tags=[cast.model]))
    asked = await lead.next(TASK)
    assert asked.HasField("unload") and asked.model == cast.model
    assert not other.waiting(TASK)
    held.state = pb.AVAILABLE
    del held.shards[:]
    await lead.say()
    assert lead.heartbeat.worker_id in members(await other.next(TASK))


@pytest.mark.rule("size-unknown")
async def test_worker_for_which_a_model_was_too_large_leads_a_group_for_it(
    head: HeadProcess, cast: Cast
) -> None:
    first = await lender(head, cast, 0)
    first.heartbeat.can_download = True
    await first.say()
    second = await lender(head, cast, 1)
    client = await cast.client(head)
    model = f"owner/{cast.model}"
    client.send(TASK, cast.task(1, model=model, tags=[cast.model]))
    alone = await first.next(TASK)
    assert not alone.HasField("shards")
    first.heartbeat.models.add(
        name=model, state=pb.FAILED, needs=6 * GIB, lead_needs=GIB, detail="too large"
    )
    await first.say()
    first.send(ERROR, pb.Error(id=alone.id, code=pb.OUT_OF_MEMORY, message="too large"))
    led = await first.next(TASK)
    assert members(led) == {second.heartbeat.worker_id}
    assert led.shards.bytes > GIB


@pytest.mark.rule("fits-nowhere", "no-worker")
async def test_model_that_fits_nowhere_is_refused(hasty_head: HeadProcess, cast: Cast) -> None:
    lead = await lender(hasty_head, cast, 0, takes=20)
    await lender(hasty_head, cast, 1)
    client = await cast.client(hasty_head)
    client.send(TASK, cast.task(1, tags=[cast.model]))
    error = await client.next(ERROR)
    assert error.code == pb.OUT_OF_MEMORY
    assert "20.0 GiB" in error.message and "4.0 GiB" in error.message
    assert not lead.waiting(TASK)


async def test_what_workers_say_of_groups_is_cut(head: HeadProcess, cast: Cast) -> None:
    client, worker = await cast.client(head), await cast.worker(head)
    good = pb.ShardLink(worker_id="w", rtt_ms=0.5, bytes_per_second=1e9)
    strange = [
        pb.ShardLink(worker_id="w", rtt_ms=float("nan")),
        pb.ShardLink(worker_id="w", rtt_ms=-1),
        pb.ShardLink(worker_id="w", rtt_ms=1e300),
        pb.ShardLink(worker_id="w", bytes_per_second=float("inf")),
        pb.ShardLink(worker_id="w" * 257),
        pb.ShardLink(),
    ]
    worker.heartbeat.shard.CopyFrom(
        pb.ShardOffer(address="a" * 300, bytes=(1 << 64) - 1, links=[*strange, *[good] * 90])
    )
    parts = [pb.Shard(worker_id="i" * 300, name="n" * 300, bytes=(1 << 64) - 1)] * 90
    worker.heartbeat.models[0].shards.extend(parts)
    worker.heartbeat.models[0].needs = (1 << 64) - 1
    await worker.say()
    said = pb.Heartbeat()
    async with asyncio.timeout(PATIENCE):  # it takes many datagrams, and the question only one
        while not said.HasField("shard"):
            await client.settle()
            said = next(
                status.heartbeat
                for status in client.status.workers
                if status.heartbeat.worker_id == worker.heartbeat.worker_id
            )
    assert said.shard.address == "a" * 256
    assert list(said.shard.links) == [good] * 58
    assert len(said.models[0].shards) == 64
    assert said.models[0].shards[0].worker_id == "i" * 256
    assert said.models[0].shards[0].name == "n" * 256


async def test_group_whose_parts_are_said_to_have_absurd_sizes_harms_nobody(
    head: HeadProcess, cast: Cast
) -> None:
    most = (1 << 64) - 1
    lead = await lender(head, cast, 0, takes=6)
    member = await lender(head, cast, 1)
    (model,) = lead.heartbeat.models
    model.state = pb.LOADED
    model.needs = model.lead_needs = model.bytes = most
    for name in (lead, member):
        model.shards.extend([pb.Shard(worker_id=name.heartbeat.worker_id, bytes=most)] * 16)
    for worker in (lead, member):
        for memory in (worker.heartbeat.vram, worker.heartbeat.ram):
            memory.total = memory.free = most
        worker.heartbeat.shard.bytes = most
        await worker.say()
    client = await cast.client(head)
    client.send(TASK, cast.task(1, tags=[cast.model]))
    task = await lead.next(TASK)
    assert task.shards.bytes < most and members(task)
    await lead.answer(task, "done")
    assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("slices-formed")
async def test_like_workers_that_have_the_model_compute_a_slice_each(
    head: HeadProcess, cast: Cast
) -> None:
    slices = pb.ModelSlices(bytes=6 * GIB, each=GIB, most=4)
    workers = [
        await cast.worker(
            head,
            models=[
                pb.ModelStatus(name=cast.model, state=pb.AVAILABLE, needs=8 * GIB, slices=slices)
            ],
            tags=[cast.model],
            ram=pb.Memory(total=4 * GIB, free=4 * GIB),
            shard=pb.ShardOffer(
                slice_address=f"127.0.0.1:{7000 + number}", slice_bytes=4 * GIB, like=like
            ),
        )
        for number, like in enumerate(("one", "one", "other"))
    ]
    client = await cast.client(head)
    client.send(TASK, cast.task(1, tags=[cast.model], worker_id=workers[0].heartbeat.worker_id))
    (member,) = (await workers[0].next(TASK)).shards.members
    assert member.worker_id == workers[1].heartbeat.worker_id
    assert (member.address, member.bytes) == ("127.0.0.1:7001", 4 * GIB)


async def test_plan_of_a_client_reaches_no_worker(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    plan = pb.ShardPlan(members=[pb.ShardMember(worker_id="x", address="203.0.113.1:1", bytes=1)])
    long = pb.TextTask(prompt="x" * 10_000)
    for task in (cast.task(1, shards=plan), cast.task(2, shards=plan, text=long)):
        client.send(TASK, task)
        assert not (await worker.next(TASK)).HasField("shards")
    client.send(TASK, json_format.MessageToJson(cast.task(3, shards=plan)).encode())
    assert not (await worker.next(TASK)).HasField("shards")
