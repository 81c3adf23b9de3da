"""Heads that are killed while clients stream through them."""

import asyncio

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes.head_process import HeadProcess

TOKENS = 120


async def count_through(client: ClusterClient, progress: asyncio.Event) -> list[pb.Result]:
    task = pb.Task(model="count", stream=True, text=pb.TextTask(max_tokens=TOKENS))
    parts = []
    async for part in client.run(task):
        parts.append(part)
        if len(parts) == 20:
            progress.set()
    return parts


def check_whole(parts: list[pb.Result]) -> None:
    assert [token for part in parts for token in part.tokens] == list(range(TOKENS))
    assert [part.index for part in parts] == list(range(TOKENS + 1))


async def test_tasks_survive_a_restart_of_the_only_head():
    progress = asyncio.Event()
    async with HeadProcess() as head:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        client = await ClusterClient([head.address]).__aenter__()
        stream = asyncio.create_task(count_through(client, progress))
        await progress.wait()
    async with HeadProcess(listen=head.address):
        check_whole(await asyncio.wait_for(stream, 30))
        assert (await client.status()).tasks_done == 1
        await client.__aexit__(None, None, None)
        await stub.close()


async def test_stream_moves_to_a_second_head_that_it_learned_of_without_repetition():
    progress = asyncio.Event()
    async with HeadProcess() as second:
        async with HeadProcess() as first:
            heads = [first.address, second.address]
            stub = await WorkerStub.open(heads)
            for head in (first, second):
                await head.wait_for_workers(1)
            client = await ClusterClient([first.address]).__aenter__()
            stream = asyncio.create_task(count_through(client, progress))
            await progress.wait()
            assert (await second.wait_for_workers(1)).tasks_done == 0
        check_whole(await asyncio.wait_for(stream, 30))
        assert (await second.wait_for_workers(1)).tasks_done == 1
        await client.__aexit__(None, None, None)
        await stub.close()
