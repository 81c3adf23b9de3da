"""The gateway with a real head and workers whose behaviour is known."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.peers.worker_stub import SCRIPTS, WorkerStub
from support.processes.gateway_process import RunningGateway, gateway_process
from support.processes.head_process import HeadProcess
from support.processes.heads import Head

STREAMS = 2000


@pytest.fixture
async def real_head(each_head: Head) -> AsyncIterator[HeadProcess]:
    async with HeadProcess(http_listen="", worker_timeout=2.0) as head:
        yield head


@pytest.fixture
async def real_gateway(real_head: HeadProcess) -> AsyncIterator[RunningGateway]:
    async with gateway_process(f"--heads={real_head.address}") as gateway:
        await gateway.ready()
        yield gateway


async def counting(gateway: RunningGateway, numbers: int):
    return await gateway.openai.completions.create(
        model="count", prompt="x", max_tokens=numbers, stream=True
    )


async def test_leaving_frees_the_worker_within_a_second(
    real_head: HeadProcess, real_gateway: RunningGateway
) -> None:
    worker = await WorkerStub.open([real_head.address], interval=0.3)
    await real_head.wait_for_workers(1)
    stream = await counting(real_gateway, 1000)
    assert (await anext(stream)).choices[0].text
    left = time.monotonic()
    await stream.response.aclose()
    while not worker.cancelled:
        assert time.monotonic() - left < 1
        await asyncio.sleep(0.005)
    assert worker.cancelled == [worker.tasks[0].id]
    await worker.close()


async def test_a_client_does_not_notice_that_its_worker_died(
    real_head: HeadProcess, real_gateway: RunningGateway
) -> None:
    workers = [
        await WorkerStub.open([real_head.address], worker_id=name, interval=0.3) for name in "ab"
    ]
    await real_head.wait_for_workers(2)
    said = ""
    stream = await counting(real_gateway, 60)
    async for event in stream:
        said += event.choices[0].text
        if said.endswith("20 "):
            first = next(worker for worker in workers if worker.tasks)
            await first.close(polite=False)
            workers.remove(first)
    assert said == "".join(f"{number} " for number in range(60))
    assert len(workers) == 1 and workers[0].tasks[0].resume.tokens
    await workers[0].close()


async def test_a_client_is_told_when_another_model_begins_its_answer_again(
    real_head: HeadProcess, real_gateway: RunningGateway
) -> None:
    def over(task: pb.Task) -> Iterator[pb.Result]:
        if task.HasField("resume"):
            yield pb.Result(text="other", tokens=[1], started_over=True)
            yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)
        else:
            yield from SCRIPTS["count"](task)

    workers = [
        await WorkerStub.open([real_head.address], worker_id=name, interval=0.3) for name in "ab"
    ]
    for worker in workers:
        worker.scripts["count"] = over
    await real_head.wait_for_workers(2)
    said = ""
    with pytest.raises(openai.APIError, match="send the request again") as told:
        async for event in await counting(real_gateway, 1000):
            said += event.choices[0].text
            if said.endswith("5 ") and len(workers) == 2:
                first = next(worker for worker in workers if worker.tasks)
                await first.close(polite=False)
                workers.remove(first)
    assert told.value.code == "answer_started_over"
    assert said.startswith("0 1 2 3 4 5 ") and "other" not in said
    await workers[0].close()


async def test_what_a_model_cannot_do_is_refused_with_those_that_can(
    real_head: HeadProcess, real_gateway: RunningGateway
) -> None:
    worker = await WorkerStub.open([real_head.address])
    await real_head.wait_for_workers(1)
    with pytest.raises(openai.BadRequestError, match=r"echo cannot make images.*picture") as told:
        await real_gateway.openai.images.generate(model="echo", prompt="x")
    assert (told.value.code, told.value.param) == ("unsupported", "model")
    with pytest.raises(openai.BadRequestError, match=r"picture cannot continue a text.*echo"):
        await real_gateway.openai.completions.create(model="picture", prompt="x")
    assert worker.tasks == []
    await worker.close()


async def test_a_full_queue_is_a_429_that_says_when_to_come_back(each_head: Head) -> None:
    async with HeadProcess(http_listen="", queue_size=1) as head:
        worker = await WorkerStub.open([head.address], slots=1)
        await head.wait_for_workers(1)
        async with gateway_process(f"--heads={head.address}") as gateway, gateway.http as http:
            await gateway.ready()
            body = {"model": "mute", "prompt": "x"}
            held = [asyncio.create_task(http.post("/v1/completions", json=body)) for _ in range(5)]
            done, waiting = await asyncio.wait(held, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            refused = done.pop().result()
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "queue_full"
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await worker.close()


async def test_a_cluster_without_workers_says_that_none_can_serve(
    real_gateway: RunningGateway,
) -> None:
    async with real_gateway.http as http:
        answer = await http.post("/v1/completions", json={"model": "echo", "prompt": "x"})
    assert answer.status_code in (404, 503)
    assert "worker" in answer.json()["error"]["message"]


async def test_two_thousand_streams_are_open_at_once(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < STREAMS + 200:
        pytest.skip(f"needs {STREAMS + 200} open files, {limit[1]} are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    go_on = asyncio.Event()

    async def held(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        await go_on.wait()
        yield pb.Result(text=" two", tokens=[2])
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)

    head.script = held
    gateway = await start_gateway()
    body = b'{"model": "stub-chat", "prompt": "x", "stream": true}'
    host, port = gateway.host_port
    request = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body
    begun = 0
    all_begun = asyncio.Event()

    async def stream() -> bytes:
        nonlocal begun
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.closing(writer):
            writer.write(request)
            first = await reader.readuntil(b'"one"')
            begun += 1
            if begun == STREAMS:
                all_begun.set()
            return first + await reader.read()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        streams = [group.create_task(stream()) for _ in range(STREAMS)]
        await all_begun.wait()
        async with gateway.http as http:
            assert (await http.get("/v1/models")).status_code == 200
        go_on.set()
    for done in streams:
        answer = done.result()
        assert answer.startswith(b"HTTP/1.1 200") and b'" two"' in answer
        assert answer.rstrip(b"\r\n0").endswith(b"data: [DONE]")
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
