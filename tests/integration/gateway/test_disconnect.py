"""A client that leaves frees the worker; a client that stays is not forgotten."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator

import pytest

from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway


async def forever(task: pb.Task) -> AsyncIterator[pb.Result]:
    await asyncio.sleep(3600)
    yield pb.Result(final=True)


async def two_words_then_forever(task: pb.Task) -> AsyncIterator[pb.Result]:
    yield pb.Result(text="one two", tokens=[1, 2])
    await asyncio.sleep(3600)


async def open_request(gateway: RunningGateway, path: str, body: object):
    """Send a request on a socket of its own, so that closing it is all that the client does."""
    host, port = gateway.host_port
    reader, writer = await asyncio.open_connection(host, port)
    data = json.dumps(body).encode()
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return reader, writer


CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": "x"}]}
LEFT = [
    ("/v1/chat/completions", {**CHAT, "stream": True}, 1),
    ("/v1/chat/completions", CHAT, 1),
    ("/v1/chat/completions", {**CHAT, "stream": True, "n": 3}, 3),
    ("/v1/completions", {"model": "stub-chat", "prompt": ["a", "b"]}, 2),
    ("/v1/images/generations", {"model": "stub/image", "prompt": "x"}, 1),
    ("/v1/embeddings", {"model": "stub-embed", "input": "x"}, 1),
]


@pytest.mark.parametrize(("path", "body", "tasks"), LEFT)
async def test_leaving_cancels_the_task_within_a_second(
    gateway: RunningGateway, head: ScriptedHead, path: str, body: object, tasks: int
) -> None:
    head.script = forever
    _, writer = await open_request(gateway, path, body)
    await head.received(tasks)
    left = time.monotonic()
    writer.close()
    cancelled = {await asyncio.wait_for(head.cancelled.get(), 1) for _ in range(tasks)}
    assert time.monotonic() - left < 1
    assert cancelled == {task.id for task in head.tasks}


async def test_leaving_in_the_middle_of_a_stream_cancels_too(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = two_words_then_forever
    reader, writer = await open_request(gateway, "/v1/chat/completions", {**CHAT, "stream": True})
    await asyncio.wait_for(reader.readuntil(b"one two"), 5)
    writer.close()
    await asyncio.wait_for(head.cancelled.get(), 1)
    async with asyncio.timeout(5), contextlib.aclosing(gateway.snapshots()) as snapshots:
        async for snapshot in snapshots:
            if [task["outcome"] for task in snapshot["tasks"]] == ["cancelled"]:
                break


async def test_a_slow_answer_keeps_its_connection_alive_with_comments(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = forever
    reader, writer = await open_request(gateway, "/v1/chat/completions", {**CHAT, "stream": True})
    begin = time.monotonic()
    answer = await asyncio.wait_for(reader.readuntil(b": still working"), 10)
    assert answer.startswith(b"HTTP/1.1 200") and time.monotonic() - begin > 4
    writer.close()
    await asyncio.wait_for(head.cancelled.get(), 1)


async def test_a_request_that_takes_too_long_is_ended_and_cancelled(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    gateway = await start_gateway("--request-timeout=0.5")
    head.script = forever
    async with gateway.http as http:
        answer = await http.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 504
    assert "request_timeout" in answer.json()["error"]["message"]
    await asyncio.wait_for(head.cancelled.get(), 1)


async def test_a_stop_lets_open_requests_finish(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    gateway = await start_gateway()
    go_on = asyncio.Event()

    async def slow(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        await go_on.wait()
        yield pb.Result(text=" two", tokens=[2], final=True)

    head.script = slow
    stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
    said = [await anext(stream), await anext(stream)]
    async with gateway.http as http, http.stream("GET", "/api/cluster") as watching:
        gateway.signal(signal.SIGTERM)
        async for _ in watching.aiter_lines():  # ends by itself
            pass
    assert gateway.exit_status is None
    go_on.set()
    said += [event async for event in stream]
    assert "".join(event.choices[0].delta.content or "" for event in said) == "one two"
    assert await gateway.ended() == 0
