"""Heads come and go; their clients do not notice."""

import asyncio
import json

from daiic.client import ClusterClient
from integration.shim.test_tasks import words
from support.peers.plain_client import TASK, PlainClient
from support.peers.stub_worker import MODEL, StubWorker

PROMPT = " ".join(f"w{i}" for i in range(60))


async def two_heads(start, worker: StubWorker):
    heads = [
        await start("daiic-head", listen="127.0.0.1:0", http_listen="127.0.0.1:0") for _ in range(2)
    ]
    await worker.open([head.address for head in heads])
    for head in heads:
        await head.until_ready()
    return heads


async def test_stream_continues_at_another_head_when_one_is_killed(launch, start) -> None:
    worker = StubWorker()
    worker.pace = 0.1
    first, second = await two_heads(start, worker)
    try:
        shim = await launch(heads=[first.address, second.address], head_timeout=2)
        await shim.until_ready()
        with PlainClient(shim.udp, acknowledges=True) as client:
            client.send_task(words(PROMPT))
            whole = asyncio.create_task(client.whole_text(30))
            await asyncio.sleep(1)
            await first.kill()
            assert await whole == f"{PROMPT} "  # `whole_text` also sees that no part comes twice
        assert worker.tasks[1].resume.index > 0
        assert await shim.metric("daiic_shim_tasks_moved_total") == 1
        assert await shim.metric(f'daiic_shim_head_up{{head="{first.address}"}}') == 0
        async with ClusterClient([shim.address]) as client:
            assert (await client.answer(words("a b"))).text == "a b "
    finally:
        await worker.close()


async def test_one_head_is_enough_to_learn_of_the_others(launch, start) -> None:
    worker = StubWorker()
    first, second = await two_heads(start, worker)
    try:
        shim = await launch(heads=first.address, head_timeout=2)
        await shim.until_ready()
        async with asyncio.timeout(10):
            while f'head_up{{head="{second.address}"}} 1' not in (await shim.get("/metrics"))[1]:
                await asyncio.sleep(0.1)
        worker.pace = 0.1
        with PlainClient(shim.udp, acknowledges=True) as client:
            client.send_task(words(PROMPT))
            whole = asyncio.create_task(client.whole_text(30))
            await asyncio.sleep(1)
            await first.kill()
            assert await whole == f"{PROMPT} "
        assert len(worker.tasks) == 2
    finally:
        await worker.close()


async def test_head_whose_name_is_not_found_does_not_keep_from_the_others(
    launch, head, worker
) -> None:
    shim = await launch(heads=["no-such-host.invalid:7717", head.address])
    await shim.until_ready()
    assert "a head is not found" in shim.log


async def test_head_that_shuts_down_passes_its_tasks_on(launch, start) -> None:
    worker = StubWorker()
    first, second = await two_heads(start, worker)
    try:
        shim = await launch(heads=[first.address, second.address])
        await shim.until_ready()
        worker.pace = 0.3
        async with ClusterClient([shim.address]) as client:
            running = asyncio.create_task(client.answer(words("a b c d e f")))
            await asyncio.sleep(0.5)
            first.terminate()
            await asyncio.sleep(0.2)
            # The head drains: it refuses a new task, which the other takes.
            assert (await client.answer(words("x y"))).text == "x y "
            assert (await running).text == "a b c d e f "
    finally:
        await worker.close()


async def test_task_survives_the_restart_of_the_only_head(launch, start) -> None:
    worker = StubWorker()
    worker.pace = 0.1
    head = await start("daiic-head", listen="127.0.0.1:0", http_listen="127.0.0.1:0")
    await worker.open([head.address])
    await head.until_ready()
    try:
        shim = await launch(heads=head.address)
        await shim.until_ready()
        async with ClusterClient([shim.address]) as client:
            running = asyncio.create_task(client.answer(words(PROMPT)))
            await asyncio.sleep(1)
            await head.kill()
            head.keep_address()
            await head.start()
            assert (await asyncio.wait_for(running, 40)).text == f"{PROMPT} "
    finally:
        await worker.close()


async def test_task_refused_by_the_only_head_goes_to_its_successor(launch, start) -> None:
    worker = StubWorker()
    head = await start("daiic-head", listen="127.0.0.1:0", http_listen="127.0.0.1:0")
    await worker.open([head.address])
    await head.until_ready()
    try:
        shim = await launch(heads=head.address)
        await shim.until_ready()
        worker.pace = 0.3
        question = json.dumps({"model": MODEL, "text": {"prompt": "large 9"}}).encode()
        async with ClusterClient([shim.address]) as client:
            running = asyncio.create_task(client.answer(words("a b c d e f g h")))
            while not worker.tasks:
                await asyncio.sleep(0.01)
            head.terminate()  # it ends when that task has
            while "503" not in str(await head.get("/readyz")):
                await asyncio.sleep(0.01)
            with PlainClient(shim.udp, acknowledges=True, answers_pings=True) as plain:
                refused = asyncio.create_task(client.answer(words("x y")))
                plain.send(TASK, question)
                assert (await running).text == "a b c d e f g h "
                await head.exit_status()
                head.keep_address()
                await head.start()
                async with asyncio.timeout(30):
                    assert (await refused).text == "x y "
                    assert (await plain.answer(30)).json()["text"] == "x" * 9
    finally:
        await worker.close()


async def test_task_waits_for_a_head_that_is_about_to_start(launch, start, head, worker) -> None:
    await head.kill()
    head.keep_address()
    shim = await launch(heads=head.address)
    assert (await shim.get("/readyz")) == (503, "no head answers\n")
    with PlainClient(shim.udp, acknowledges=True) as client:
        client.send_task(words("patience"))
        await asyncio.sleep(0.5)
        await head.start()
        assert await client.whole_text(20) == "patience "
