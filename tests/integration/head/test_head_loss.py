"""Heads that are killed while clients stream through them."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.models import endless_tiny
from support.peers.worker_stub import WorkerStub
from support.processes import built, heads
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

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


async def sampled(client: ClusterClient, killed: HeadProcess | None = None) -> list[pb.Result]:
    """Return the parts of an answer that is drawn at random from one seed; `killed` is killed early
    in it."""
    text = pb.TextTask(prompt="1", max_tokens=400, temperature=1.0, seed=7)
    parts = []
    async for part in client.run(pb.Task(model="endless", stream=True, text=text)):
        parts.append(part)
        if killed is not None and len(parts) == 20:
            await killed.kill()
    return parts


@pytest.mark.parametrize("surviving", heads.names())
async def test_a_sampled_answer_is_the_same_whichever_heads_are_killed_and_survive(
    surviving: str, tmp_path: Path
) -> None:
    with built.or_skip(surviving):
        other = heads.find(surviving)
    endless_tiny.write(tmp_path / "models/endless", tmp_path / "unused.gguf")
    async with AsyncExitStack() as stack:
        killed = await stack.enter_async_context(HeadProcess())
        survivor = await stack.enter_async_context(HeadProcess(kind=other))
        both = [killed.address, survivor.address]
        await stack.enter_async_context(
            WorkerProcess(
                heads=both,
                models=["endless"],
                models_dir=tmp_path / "models",
                state_dir=tmp_path / "state",
                allow_downloads=False,
                threads=1,
            )
        )
        for head in (killed, survivor):
            await head.wait_for_workers(1)
        client = await stack.enter_async_context(ClusterClient(both))
        expected = await sampled(client)
        assert not (await survivor.wait_for_workers(1)).tasks_done
        parts = await asyncio.wait_for(sampled(client, killed), 60)
        assert (await survivor.wait_for_workers(1)).tasks_done == 1
        for index, part in enumerate(parts):
            assert part.index == index and not part.started_over

        def said(parts: list[pb.Result]) -> tuple[list[int], str]:
            tokens = [token for part in parts for token in part.tokens]
            return tokens, "".join(part.text for part in parts)

        assert said(parts) == said(expected)
        assert len(said(parts)[0]) == 400
