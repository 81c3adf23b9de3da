"""Head, workers and client across links that lose 5 %, delay 10 ± 5 ms, reorder and duplicate."""

import asyncio
import contextlib

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import resolve
from support.links.lossy_relay import LossyRelay
from support.peers.worker_stub import WorkerStub, pixels
from support.processes.head_process import HeadProcess

MIB = 1 << 20
HEAD_BOUND = 5
"""Resident memory of the head, at most, in sizes of the largest message that passes through:
it is put together, parsed and serialised again, and the last is kept until acknowledged."""


@contextlib.asynccontextmanager
async def rough_cluster(workers: int):
    """Yield head, client and worker stubs, with a rough link of its own between head and each."""
    async with contextlib.AsyncExitStack() as stack:
        head = await stack.enter_async_context(HeadProcess())

        async def link(seed: int) -> str:
            relay = await LossyRelay.start(await resolve(head.address), seed=seed)
            await stack.enter_async_context(relay)
            return "{}:{}".format(*relay.address)

        stubs = []
        for number in range(workers):
            stub = await WorkerStub.open([await link(number)], worker_id=f"w{number}")
            stack.push_async_callback(stub.close)
            stubs.append(stub)
        await head.wait_for_workers(workers)
        client = await stack.enter_async_context(ClusterClient([await link(99)]))
        yield head, client, stubs


async def test_thousand_tasks_are_each_answered_exactly_once():
    async with rough_cluster(workers=2) as (_, client, stubs):
        prompts = [f"prompt {number}" for number in range(1000)]
        tasks = [pb.Task(model="echo", text=pb.TextTask(prompt=prompt)) for prompt in prompts]
        answers = await asyncio.gather(*map(client.answer, tasks))
        assert [answer.text for answer in answers] == prompts
        run = [task.text.prompt for stub in stubs for task in stub.tasks]
        assert sorted(run) == sorted(prompts)
        assert all(len(stub.tasks) > 300 for stub in stubs)
        status = await client.status()
        assert (status.tasks_done, status.tasks_moved, status.in_flight) == (1000, 0, 0)


@pytest.mark.only_our_heads("how much memory a large answer takes")
@pytest.mark.parametrize("mib", [64])
async def test_result_of_64_mib_arrives_whole_and_the_heads_memory_stays_bounded(mib):
    async with rough_cluster(workers=1) as (head, client, _):
        at_rest = head.rss()
        task = pb.Task(model="picture", image=pb.ImageTask(width=1024, height=mib * 1024, seed=5))
        (image,) = (await client.answer(task)).images
        assert image.png == pixels(task.image)
        used = head.rss(peak=True) - at_rest
        print(f"the head used {used / MIB:.0f} MiB more for a result of {mib} MiB")
        assert used < HEAD_BOUND * mib * MIB
