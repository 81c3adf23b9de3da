"""Connections end when their client does nothing with them, and only then."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

PATIENCE = 0.6
"""Seconds; requests, and so headers, have no longer here."""
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
TOO_LARGE = (
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000000000\r\n\r\n"
)


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> RunningGateway:
    return await start_gateway(f"--request-timeout={PATIENCE}")


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Return the header and body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def seconds_until_closed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trickle: bytes = b""
) -> float:
    """Send `trickle` byte by byte until the gateway closes the connection, within 10 s."""
    begin = time.monotonic()
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            for byte in trickle:
                writer.write(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    assert await asyncio.wait_for(reader.read(1), 0.05) == b""
                    break
            assert await reader.read(1) == b""
    writer.close()
    return time.monotonic() - begin


async def test_a_client_that_says_nothing_is_hung_up_on(gateway: RunningGateway) -> None:
    took = await seconds_until_closed(*await asyncio.open_connection(*gateway.host_port))
    assert took > PATIENCE / 2


@pytest.mark.parametrize("before", [b"", HEALTH, TOO_LARGE], ids=["first", "second", "unwanted"])
async def test_dribbling_bytes_do_not_keep_a_connection(
    gateway: RunningGateway, before: bytes
) -> None:
    reader, writer = await asyncio.open_connection(*gateway.host_port)
    if before:
        writer.write(before)
        await answered(reader)
    took = await seconds_until_closed(reader, writer, trickle=HEALTH[:-2] + b"A: " + b"b" * 500)
    assert took > PATIENCE / 2


async def test_a_pause_between_requests_may_be_longer(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection(*gateway.host_port)
    for _ in range(2):
        writer.write(HEALTH)
        assert (await answered(reader)).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(2 * PATIENCE)
    writer.close()


async def test_a_client_that_reads_no_more_is_cut_off_and_its_task_cancelled(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def much(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="x" * 500_000, tokens=[1])
        await asyncio.sleep(3600)

    head.script = much
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(gateway.host_port)
    body = json.dumps({"model": "stub-chat", "prompt": "x", "stream": True}).encode()
    deaf.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    await asyncio.wait_for(head.cancelled.get(), 10)
    ends = f"{deaf.getpeername()[1]:04X} 0100007F:{deaf.getsockname()[1]:04X}"
    async with asyncio.timeout(10):
        while ends in Path("/proc/net/tcp").read_text():
            await asyncio.sleep(0.1)
    deaf.close()


async def test_headers_without_an_end_neither_fill_memory_nor_hold_others_up(
    gateway: RunningGateway,
) -> None:
    before = gateway.rss()

    async def flood(more: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*gateway.host_port)
        with contextlib.suppress(ConnectionError):
            writer.write(HEALTH[:-2])
            for _ in range(256):
                writer.write(more * (65536 // len(more)))
                await writer.drain()
        answer = await reader.read(16)
        writer.close()
        return answer

    async with asyncio.timeout(30), gateway.http as http:
        floods = [asyncio.create_task(flood(more)) for more in (b"a: a\r\n", b"a") * 4]
        assert (await http.get("/healthz")).status_code == 200
        for answer in await asyncio.gather(*floods):
            assert answer.startswith(b"HTTP/1.1 431 ")
    assert gateway.rss() - before < 16 << 20
