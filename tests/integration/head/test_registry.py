"""Which workers a head knows: the table of docs/cluster.md, "The registry"."""

import asyncio
import secrets

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from support.peers.cast import Cast
from support.peers.plain_client import PlainClient
from support.peers.scripted_peer import ScriptedPeer, ScriptedWorker
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

HEARTBEAT, RESULT, TASK = MessageType.HEARTBEAT, MessageType.RESULT, MessageType.TASK


async def known(client: ScriptedPeer, worker: ScriptedWorker) -> pb.WorkerStatus | None:
    """Return what the head says of `worker`."""
    await client.settle()
    found = [
        status
        for status in client.status.workers
        if status.heartbeat.worker_id == worker.heartbeat.worker_id
    ]
    return found[0] if found else None


async def gives_to(client: ScriptedPeer, cast: Cast, worker: ScriptedWorker, task_id: int) -> None:
    """Check that the head gives `worker` a task that is pinned to it."""
    client.send(TASK, cast.task(task_id, worker_id=worker.heartbeat.worker_id))
    await worker.answer(await worker.next(TASK), "done")
    assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("registered", "refreshed")
async def test_worker_is_what_its_last_heartbeat_says(head: HeadProcess, cast: Cast) -> None:
    client, worker = await cast.client(head), await cast.worker(head, name="one", slots=1)
    status = await known(client, worker)
    assert status is not None
    assert (status.heartbeat.name, status.address) == ("one", worker.address)
    await worker.say(name="other", slots=7)
    status = await known(client, worker)
    assert status is not None
    assert (status.heartbeat.name, status.heartbeat.slots) == ("other", 7)


@pytest.mark.rule("registered")
async def test_new_worker_gets_what_waits_for_it(head: HeadProcess, cast: Cast) -> None:
    busy, client = await cast.worker(head, slots=1), await cast.client(head)
    for number in (1, 2):
        client.send(TASK, cast.task(number))
    await busy.next(TASK)
    worker = await cast.worker(head)
    await worker.next(TASK)


@pytest.mark.rule("refreshed")
async def test_worker_keeps_its_tasks_when_its_address_changes(
    head: HeadProcess, cast: Cast
) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(TASK, cast.task())
    task = await worker.next(TASK)
    await worker.silent()
    moved = await cast.socket(head)
    await moved.register(worker.heartbeat)
    status = await known(client, moved)
    assert status is not None
    assert (status.address, status.in_flight) == (moved.address, 1)
    await moved.answer(task, "done")
    assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("starting")
async def test_worker_gets_tasks_when_it_has_started(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head, state=pb.STARTING), await cast.client(head)
    client.send(TASK, cast.task())
    await client.settle()
    await worker.settle()
    assert not worker.waiting(TASK)
    await worker.say(state=pb.READY)
    await worker.answer(await worker.next(TASK), "done")
    assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("draining")
async def test_draining_worker_finishes_what_it_has_and_gets_no_more(
    head: HeadProcess, cast: Cast
) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    client.send(TASK, cast.task(1))
    task = await worker.next(TASK)
    await worker.say(state=pb.DRAINING)
    other = await cast.worker(head)
    for number in (2, 3):
        client.send(TASK, cast.task(number))
        await other.answer(await other.next(TASK), "by the other")
        assert (await client.next(RESULT)).text == "by the other"
    await worker.answer(task, "done")
    assert (await client.next(RESULT)).text == "done"
    assert not worker.waiting(TASK)


async def stop(cast: Cast, head: HeadProcess, worker: ScriptedWorker) -> None:
    await worker.say(state=pb.STOPPED)
    await worker.silent()


async def fall_silent(cast: Cast, head: HeadProcess, worker: ScriptedWorker) -> None:
    await worker.silent()


async def restart(cast: Cast, head: HeadProcess, worker: ScriptedWorker) -> None:
    await worker.say(incarnation=secrets.randbits(63), state=pb.STARTING)


async def lose_the_address(cast: Cast, head: HeadProcess, worker: ScriptedWorker) -> None:
    await worker.say(worker_id=f"heir of {worker.heartbeat.worker_id}", state=pb.STARTING)


@pytest.mark.rule("stopped", "silent", "replaced", "address-taken", "worker-lost")
@pytest.mark.parametrize("happens", [stop, fall_silent, restart, lose_the_address])
async def test_tasks_of_a_worker_that_is_lost_go_on_elsewhere(
    hasty_head: HeadProcess, cast: Cast, happens
) -> None:
    worker, client = await cast.worker(hasty_head), await cast.client(hasty_head)
    before = worker.heartbeat.worker_id
    client.send(TASK, cast.task())
    task = await worker.next(TASK)
    worker.send(RESULT, pb.Result(id=task.id, index=0, text="begun, ", tokens=[5]))
    await client.next(RESULT)
    other = await cast.worker(hasty_head)
    await happens(cast, hasty_head, worker)
    again = await other.next(TASK)
    assert (again.resume.text, again.resume.index) == ("begun, ", 1)
    worker.send(RESULT, pb.Result(id=task.id, index=1, final=True, text="too late"))
    await worker.settle()
    await other.answer(again, "done", index=1)
    assert (await client.next(RESULT)).text == "done"
    await client.settle()
    states = {w.heartbeat.worker_id: w.heartbeat.state for w in client.status.workers}
    assert states.get(before) in (None, pb.STARTING)


@pytest.mark.rule("stopped")
async def test_heartbeat_from_before_a_worker_stopped_does_not_bring_it_back(
    head: HeadProcess, cast: Cast
) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    await worker.silent()
    await worker.say(state=pb.STOPPED)
    assert await known(client, worker) is None
    await worker.say(state=pb.READY)
    assert await known(client, worker) is None
    await worker.say(incarnation=secrets.randbits(63))
    assert await known(client, worker) is not None


@pytest.mark.rule("silent")
async def test_silent_worker_is_forgotten_and_may_come_back(
    hasty_head: HeadProcess, cast: Cast
) -> None:
    worker, client = await cast.worker(hasty_head), await cast.client(hasty_head)
    await worker.silent()
    async with asyncio.timeout(PATIENCE):
        while await known(client, worker) is not None:
            pass
    await worker.say()
    assert await known(client, worker) is not None


@pytest.mark.rule("unreachable")
async def test_worker_that_acknowledges_nothing_loses_its_tasks(
    head: HeadProcess, cast: Cast
) -> None:
    client = await cast.client(head)
    deaf = cast.heartbeat()
    with PlainClient(head.host_port) as socket:  # says what it is, and acknowledges nothing
        socket.send(HEARTBEAT, deaf.SerializeToString())
        client.send(TASK, cast.task())
        while (await socket.datagram(PATIENCE)).kind != TASK:
            pass
        other = await cast.worker(head)
        async with asyncio.timeout(PATIENCE):
            while not other.waiting(TASK):
                socket.send(HEARTBEAT, deaf.SerializeToString())
                await other.settle()
    await other.answer(await other.next(TASK), "done")
    assert (await client.next(RESULT)).text == "done"


@pytest.mark.rule("twin")
async def test_process_that_was_replaced_is_ignored(head: HeadProcess, cast: Cast) -> None:
    old, client = await cast.worker(head), await cast.client(head)
    await old.silent()
    new = await cast.worker(head, worker_id=old.heartbeat.worker_id)
    for _ in range(4):
        await old.say()
        status = await known(client, new)
        assert status is not None
        assert status.address == new.address
    await gives_to(client, cast, new, 1)
    assert not old.waiting(TASK)


@pytest.mark.rule("address-taken")
async def test_address_has_one_worker(head: HeadProcess, cast: Cast) -> None:
    worker, client = await cast.worker(head), await cast.client(head)
    before = worker.heartbeat.worker_id
    await worker.say(worker_id=f"heir of {before}")
    await client.settle()
    ids = [status.heartbeat.worker_id for status in client.status.workers]
    assert f"heir of {before}" in ids
    assert before not in ids
    await gives_to(client, cast, worker, 1)


@pytest.mark.rule("unreadable-heartbeat")
@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff", pb.Heartbeat(state=pb.READY), pb.Heartbeat(worker_id="w" * 257, state=pb.READY)],
    ids=["nonsense", "no id", "too long an id"],
)
async def test_heartbeat_that_cannot_be_read_registers_nobody(
    head: HeadProcess, cast: Cast, payload: bytes | pb.Heartbeat
) -> None:
    worker = await cast.socket(head)
    worker.send(HEARTBEAT, payload)
    await worker.settle()
    assert worker.address not in [status.address for status in worker.status.workers]


@pytest.mark.rule("registry-full")
async def test_full_registry_keeps_the_workers_it_has(cast: Cast) -> None:
    async with HeadProcess(worker_timeout=600) as head:
        first, client = await cast.worker(head), await cast.client(head)
        for number in range(1, 1025):
            # An address of its own for each, and the socket is not needed afterwards.
            host = f"127.1.{number >> 8}.{number & 255}"
            with PlainClient(head.host_port, host=host) as socket:
                beat = pb.Heartbeat(worker_id=f"crowd {number}", state=pb.READY)
                socket.send(HEARTBEAT, beat.SerializeToString())
                await socket.datagram(PATIENCE)
        await client.settle()
        ids = [status.heartbeat.worker_id for status in client.status.workers]
        assert len(ids) == 1024
        assert "crowd 1023" in ids
        assert "crowd 1024" not in ids
        await gives_to(client, cast, first, 1)


@pytest.mark.rule("question")
async def test_clients_are_told_of_the_heads_that_most_workers_name(cast: Cast) -> None:
    named = [f"192.0.2.{number}:7717" for number in range(1, 21)]
    async with HeadProcess() as head:
        await cast.worker(head, heads=["head.example:7717", *named])
        await cast.worker(head, heads=named[18:])
        client = await cast.client(head)
        await client.settle()  # so long an answer goes only to a client that has shown it receives
        client.send(HEARTBEAT, b"")
        presence = await client.next(HEARTBEAT)
        assert presence.version
        assert set(presence.heads[:2]) == set(named[18:])
        assert set(presence.heads) <= set(named)
        assert len(presence.heads) == 16


async def test_cards_are_kept_as_they_were_measured_and_what_cannot_be_is_left_out(
    head: HeadProcess, cast: Cast
) -> None:
    client, worker = await cast.client(head), await cast.worker(head)
    memory = pb.Memory(total=24 << 30, free=20 << 30)
    good = pb.Card(name="a", vram=memory, temperature=61, power=0, power_limit=350, load=0.5)
    strange = pb.Card(
        name="b" * 300,
        temperature=float("nan"),
        power=float("inf"),
        power_limit=-1,
        load=1.5,
    )
    worker.heartbeat.cards.extend([good, strange, *[pb.Card()] * 98])
    await worker.say()
    status = await known(client, worker)
    assert status is not None
    cards = status.heartbeat.cards
    assert len(cards) == 64
    assert cards[0] == good
    assert cards[1] == pb.Card(name="b" * 256)
