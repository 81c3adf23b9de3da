"""Tasks that are too many, too slow, or no longer wanted; and tasks in JSON."""

import asyncio
import json
import time

import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import resolve
from daiic.wire.events import Event, Message
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket
from support.peers.worker_stub import SLOW, WorkerStub
from support.processes.head_process import HeadProcess


def slow_task(**fields) -> pb.Task:
    return pb.Task(model="slow", text=pb.TextTask(prompt="done"), **fields)


def messages(events: list[Event]) -> list[Message]:
    return [event for event in events if isinstance(event, Message)]


async def until(condition, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_task_beyond_the_queue_is_refused_at_once_and_the_rest_is_answered():
    async with HeadProcess(queue_size=3) as head, ClusterClient([head.address]) as client:
        stub = await WorkerStub.open([head.address], slots=2)
        await head.wait_for_workers(1)
        began = time.monotonic()
        accepted = [asyncio.create_task(client.answer(slow_task())) for _ in range(5)]
        await asyncio.sleep(0.1)
        with pytest.raises(TaskError, match="3 tasks wait already") as refusal:
            await client.answer(slow_task())
        assert time.monotonic() - began < SLOW
        assert refusal.value.code == pb.QUEUE_FULL
        assert [answer.text for answer in await asyncio.gather(*accepted)] == ["done"] * 5
        await stub.close()


async def test_late_task_is_an_error_and_its_worker_stops():
    async with HeadProcess() as head, ClusterClient([head.address]) as client:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        with pytest.raises(TaskError, match=r"not done within 0\.3 s") as late:
            await client.answer(pb.Task(model="mute", deadline_ms=300, text=pb.TextTask()))
        assert late.value.code == pb.DEADLINE_EXCEEDED
        await until(lambda: stub.cancelled == [task.id for task in stub.tasks])
        await stub.close()


async def test_answer_that_its_reader_closes_is_cancelled_on_the_worker():
    async with HeadProcess() as head, ClusterClient([head.address]) as client:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        task = pb.Task(model="count", stream=True, text=pb.TextTask(max_tokens=10_000))
        parts = client.run(task)
        await anext(parts)
        await parts.aclose()
        await until(lambda: stub.cancelled, seconds=2)
        assert (await client.status()).in_flight == 0
        await stub.close()


async def test_tasks_of_clients_that_vanish_are_cancelled_whether_they_stream_or_not():
    async with HeadProcess() as head:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        to = await resolve(head.address)
        events: list[Event] = []
        clients = []
        for model in ("count", "mute"):
            client = await MeshSocket.open("127.0.0.1:0", on_events=events.extend)
            text = pb.TextTask(max_tokens=10_000)
            task = pb.Task(id=1, model=model, stream=True, text=text)
            client.send(to, MessageType.TASK, task.SerializeToString())
            clients.append(client)
        await until(lambda: len(messages(events)) > 100)
        for client in clients:
            await client.close(drain=0)
        await until(lambda: len(set(stub.cancelled)) == 2, seconds=20)
        assert (await head.wait_for_workers(1)).in_flight == 0
        await stub.close()


async def test_task_written_as_json_is_answered_in_json_whether_it_can_be_served_or_not():
    async with HeadProcess() as head:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        events: list[Event] = []
        socket = await MeshSocket.open("127.0.0.1:0", on_events=events.extend)
        to = await resolve(head.address)
        for text in (
            '{"id": 1, "model": "echo", "text": {"prompt": "hello"}}',
            '{"id": 2, "model": "echo", "text": {"promt": "hello"}}',
        ):
            socket.send(to, MessageType.TASK, text.encode())
        await until(lambda: len(messages(events)) == 2)
        arrived = messages(events)
        assert {message.message_type for message in arrived} == {MessageType.RESULT}
        answers = {answer["id"]: answer for answer in (json.loads(m.payload) for m in arrived)}
        assert (answers["1"]["text"], answers["1"]["final"]) == ("hello", True)
        assert answers["2"]["error"]["code"] == "BAD_REQUEST"
        assert "promt" in answers["2"]["error"]["message"]
        await socket.close(drain=0)
        await stub.close()


async def test_client_with_thousands_of_tasks_leaves_another_its_share():
    async with (
        HeadProcess() as head,
        ClusterClient([head.address]) as flood,
        ClusterClient([head.address]) as other,
    ):
        stub = await WorkerStub.open([head.address], slots=1)
        await head.wait_for_workers(1)
        names = {flood: "flood", other: "other"}

        def ask(client: ClusterClient) -> asyncio.Task[pb.Result]:
            text = pb.TextTask(prompt=names[client], max_tokens=1)
            return asyncio.create_task(client.answer(pb.Task(model="count", text=text)))

        flooding = [ask(flood) for _ in range(3000)]
        await until(lambda: any(task.done() for task in flooding))  # refused: the queue is full
        answers = await asyncio.gather(*[ask(other) for _ in range(13)])
        assert all(answer.finish_reason == pb.FINISH_REASON_LENGTH for answer in answers)
        order = [task.text.prompt for task in stub.tasks]
        first = order.index("other")
        assert order[first : first + 40].count("other") == 13
        for task in flooding:
            task.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)
        await stub.close()
