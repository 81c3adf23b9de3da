"""Heads come and go; their clients do not notice."""

import asyncio
import json
import signal

import pytest

from daiic.client import ClusterClient
from integration.shim.tasks import words
from support.peers.plain_client import TASK, PlainClient
from support.peers.worker_stub import words_every
from support.processes.head_process import HeadProcess
from support.processes.heads import Head

PROMPT = " ".join(f"w{i}" for i in range(30))


@pytest.fixture
async def two_heads(each_head: Head, enter) -> list[HeadProcess]:
    return [await enter(HeadProcess()) for _ in range(2)]


@pytest.mark.rule("head-silent")
async def test_stream_continues_at_another_head_when_one_is_killed(
    launch, two_heads, serve, eventually
) -> None:
    first, second = two_heads
    worker = await serve(first, second)
    worker.scripts["words"] = words_every(0.1)
    shim = await launch(heads=[first.address, second.address], head_timeout=2)
    await shim.until_ready()
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words(PROMPT))
        whole = asyncio.create_task(client.whole_text(30))
        await eventually(lambda: worker.tasks)
        await asyncio.sleep(0.5)
        await first.kill()
        assert await whole == f"{PROMPT} "  # `whole_text` also sees that no part comes twice
    assert worker.tasks[1].resume.index > 0
    assert await shim.metric("daiic_shim_tasks_moved_total") == 1
    assert await shim.metric(f'daiic_shim_head_up{{head="{first.address}"}}') == 0
    async with ClusterClient([shim.address]) as client:
        assert (await client.answer(words("a b"))).text == "a b "


@pytest.mark.rule("heads-told", "head-silent")
async def test_one_head_is_enough_to_learn_of_the_others(
    launch, two_heads, serve, eventually
) -> None:
    first, second = two_heads
    worker = await serve(first, second)
    shim = await launch(heads=first.address, head_timeout=2)
    await shim.until_ready()
    async with asyncio.timeout(10):
        while f'head_up{{head="{second.address}"}} 1' not in (await shim.get("/metrics"))[1]:
            await asyncio.sleep(0.1)
    worker.scripts["words"] = words_every(0.1)
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words(PROMPT))
        whole = asyncio.create_task(client.whole_text(30))
        await eventually(lambda: worker.tasks)
        await asyncio.sleep(0.5)
        await first.kill()
        assert await whole == f"{PROMPT} "
    assert len(worker.tasks) == 2


async def test_head_whose_name_is_not_found_does_not_keep_from_the_others(
    launch, head, worker
) -> None:
    shim = await launch(heads=["no-such-host.invalid:7717", head.address])
    await shim.until_ready()
    assert "a head is not found" in shim.log


@pytest.mark.rule("head-stopping")
async def test_head_that_shuts_down_passes_its_tasks_on(launch, two_heads, serve) -> None:
    first, second = two_heads
    worker = await serve(first, second)
    shim = await launch(heads=[first.address, second.address])
    await shim.until_ready()
    worker.scripts["words"] = words_every(0.3)
    async with ClusterClient([shim.address]) as client:
        running = asyncio.create_task(client.answer(words("a b c d e f")))
        await asyncio.sleep(0.5)
        first.signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        # The head drains: it refuses a new task, which the other takes.
        assert (await client.answer(words("x y"))).text == "x y "
        assert (await running).text == "a b c d e f "


@pytest.mark.rule("no-news", "head-back")
async def test_task_survives_the_restart_of_the_only_head(launch, head, worker, eventually) -> None:
    worker.scripts["words"] = words_every(0.1)
    shim = await launch(heads=head.address, head_timeout=1)
    await shim.until_ready()
    async with ClusterClient([shim.address]) as client:
        running = asyncio.create_task(client.answer(words(PROMPT)))
        await eventually(lambda: worker.tasks)
        await asyncio.sleep(0.5)
        await head.kill()
        await head.restart()
        assert (await asyncio.wait_for(running, 40)).text == f"{PROMPT} "


@pytest.mark.rule("head-stopping", "head-back")
async def test_task_refused_by_the_only_head_goes_to_its_successor(launch, head, worker) -> None:
    shim = await launch(heads=head.address)
    await shim.until_ready()
    worker.scripts["words"] = words_every(0.3)
    question = json.dumps({"model": "large", "text": {"maxTokens": 9}}).encode()
    async with ClusterClient([shim.address]) as client:
        running = asyncio.create_task(client.answer(words("a b c d e f g h")))
        while not worker.tasks:
            await asyncio.sleep(0.01)
        head.signal(signal.SIGTERM)  # it ends when that task has
        while "503" not in str(await head.get("/readyz")):
            await asyncio.sleep(0.01)
        with PlainClient(shim.host_port, acknowledges=True, answers_pings=True) as plain:
            refused = asyncio.create_task(client.answer(words("x y")))
            plain.send(TASK, question)
            assert (await running).text == "a b c d e f g h "
            await head.ended()
            await head.restart()
            async with asyncio.timeout(30):
                assert (await refused).text == "x y "
                assert (await plain.answer(30)).json()["text"] == "x" * 9


async def test_task_waits_for_a_head_that_is_about_to_start(launch, head, worker) -> None:
    await head.kill()
    shim = await launch(heads=head.address)
    assert (await shim.get("/readyz")) == (503, "no head answers\n")
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words("patience"))
        await asyncio.sleep(0.5)
        await head.restart()
        assert await client.whole_text(20) == "patience "
