"""Heads that know nothing of each other share their workers all the same."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Step, WorkerStub
from support.processes.head_process import HeadProcess

FIRST, SECOND = 40, 2
INTERVAL = 0.3
"""Seconds between two heartbeats; a task takes as long."""


def slow(task: pb.Task) -> Iterator[Step]:
    yield INTERVAL
    yield pb.Result(final=True, text=task.text.prompt)


async def test_a_head_with_many_tasks_leaves_some_of_a_worker_to_another(head: HeadProcess) -> None:
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(HeadProcess(http_listen=""))
        heads = [head, other]
        stub = await WorkerStub.open([one.address for one in heads], slots=1, interval=INTERVAL)
        stack.push_async_callback(stub.close)
        stub.scripts["slow"] = slow
        clients = [await stack.enter_async_context(ClusterClient([one.address])) for one in heads]
        await head.wait_for_workers(1)
        done: list[int] = []

        async def run(number: int) -> None:
            await clients[number].answer(pb.Task(model="slow", text=pb.TextTask(prompt="x")))
            done.append(number)

        running = [asyncio.create_task(run(0)) for _ in range(FIRST)]
        while not stub.tasks:
            await asyncio.sleep(INTERVAL)
        await asyncio.sleep(3 * INTERVAL)  # heartbeats have told the other head of it
        running += [asyncio.create_task(run(1)) for _ in range(SECOND)]
        await asyncio.gather(*running)
        assert done[-1] == 0 and sorted(done) == [0] * FIRST + [1] * SECOND
