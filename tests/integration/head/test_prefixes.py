"""A chat that goes on goes to the worker that has read it, with any head and DAIIC's own client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Step, WorkerStub
from support.processes.head_process import HeadProcess

WORKERS = ("left", "middle", "right")
SLOTS = 4
"""Of each."""
HISTORY = "The quick brown fox jumps over the lazy dog, and the dog does not mind. " * 80
"""Some 1,500 tokens."""


BUSY = "one after the other"
"""What keeps a worker busy for a moment."""


def reading(task: pb.Task) -> Iterator[Step]:
    """Answer as a worker does that reads nothing twice."""
    if task.text.messages[-1].content == BUSY:
        yield 1.0
    yield pb.Result(
        final=True,
        text="yes",
        tokens=[1],
        usage=pb.Usage(prompt_tokens=1500, completion_tokens=1, cached_tokens=1500),
    )


class Crowd:
    """Equal workers, and a client of the head that they report to."""

    def __init__(self, stubs: list[WorkerStub], client: ClusterClient) -> None:
        self.stubs = stubs
        self.client = client

    async def ask(self, *messages: str, worker_id: str = "") -> str:
        """Say the messages of a conversation; return who answers."""
        task = pb.Task(model="chat", text=pb.TextTask(max_tokens=64), worker_id=worker_id)
        for number, message in enumerate(messages):
            task.text.messages.add(role="assistant" if number % 2 else "user", content=message)
        return (await self.client.answer(task)).worker_id


@pytest.fixture
async def crowd(head: HeadProcess) -> AsyncIterator[Crowd]:
    async with contextlib.AsyncExitStack() as stack:
        stubs = []
        for name in WORKERS:
            stub = await WorkerStub.open(
                [head.address], worker_id=name, models={"chat": pb.LOADED}, slots=SLOTS
            )
            stub.scripts["chat"] = reading
            stack.push_async_callback(stub.close)
            stubs.append(stub)
        await head.wait_for_workers(len(WORKERS))
        yield Crowd(stubs, await stack.enter_async_context(ClusterClient([head.address])))


async def test_conversations_go_on_where_they_began_and_new_ones_are_spread(crowd: Crowd) -> None:
    chats = [[f"{number} {HISTORY}"] for number in range(6)]
    began = [await crowd.ask(*chat) for chat in chats]
    assert len(set(began)) > 1  # how evenly depends on how near each is just then
    for _ in range(3):
        for chat in chats:
            chat += ["yes", "and then?"]
        assert [await crowd.ask(*chat) for chat in chats] == began


async def test_a_long_conversation_waits_for_its_worker_though_others_are_free(
    crowd: Crowd, head: HeadProcess
) -> None:
    book = "book " + 40 * HISTORY  # takes longer to read than any task waits
    reader = await crowd.ask(book)
    before = await counted(head)
    stub = next(stub for stub in crowd.stubs if stub.heartbeat.worker_id == reader)
    given = len(stub.tasks)
    async with asyncio.TaskGroup() as group:
        for _ in range(SLOTS):
            group.create_task(crowd.ask(BUSY, worker_id=reader))
        while len(stub.tasks) < given + SLOTS:
            await asyncio.sleep(0.01)
        chat = group.create_task(crowd.ask(book, "yes", "and then?"))
    assert chat.result() == reader
    after = await counted(head)
    assert [after[name] - before[name] for name in ("patient", "rewarded")] == [1, 1]


async def test_no_worker_is_sent_the_hashes(crowd: Crowd) -> None:
    await crowd.ask(HISTORY)
    (task,) = [task for stub in crowd.stubs for task in stub.tasks]
    assert task.text.messages[0].content == HISTORY
    assert not task.prefix


async def test_the_head_counts_what_was_spared(crowd: Crowd, head: HeadProcess) -> None:
    before = await counted(head)
    for _ in range(4):
        await crowd.ask("counted " + HISTORY)
    after = await counted(head)
    assert [after[name] - before[name] for name in COUNTED[:3]] == [3, 6000, 6000]


COUNTED = ("read_before", "prompt_tokens", "cached_tokens", "patient", "rewarded")


async def counted(head: HeadProcess) -> dict[str, float]:
    _, text = await head.get("/metrics")
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return {name: values[f"daiic_head_{name}_total"] for name in COUNTED}
