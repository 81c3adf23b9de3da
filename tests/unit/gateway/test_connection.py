"""What a connection reads before anything has looked at a key."""

import asyncio
import json
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from daiic.gateway.http.api_keys import KeyFile
from daiic.gateway.limits import (
    CLIENT_BODIES_BYTES,
    DISCARDED_BYTES,
    FRAMING_BYTES,
    HEADER_BYTES,
    HEADER_LINES,
    PIECE,
    PIPELINED,
)
from support.gateway_in_process import READ, GatewayInProcess
from support.peers.scripted_head import after_two_words

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MANY = 100 * 1024 * 1024
"""Bytes that nobody gets to send."""


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    keys = KeyFile(tmp_path / "keys.json")
    keys.create("ann")
    return keys


def without_end(begin: bytes, more: bytes) -> Iterator[bytes]:
    yield begin
    yield from repeat(more * (READ // len(more)), MANY // READ)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a"),
        (b"GET /healthz?", b"a=b&"),
        (GET + b"A", b"a"),
        (GET + b"A: ", b"a"),
        (GET, b"a: a\r\n"),
        (GET, b"%s: a\r\n" % (b"a" * 7000)),
        (GET + b"A: a", b"\r\n a"),
        (b"", b"\r\n"),
    ],
    ids=["path", "query", "name", "value", "lines", "long lines", "folds", "blank lines"],
)
async def test_a_header_without_an_end_is_refused_early(begin: bytes, more: bytes) -> None:
    taken, answer = await GatewayInProcess().talk(without_end(begin, more))
    assert taken <= HEADER_BYTES + 2 * READ
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head and b"x-request-id: req-" in head
    assert json.loads(body)["error"]["message"]


@pytest.mark.parametrize("size", [1, 100, PIECE, READ])
async def test_a_header_as_large_as_may_be_is_read_in_whatever_pieces(size: int) -> None:
    value = b"A: " + b"a" * (HEADER_BYTES - len(GET) - 7) + b"\r\n\r\n"
    request = GET + value
    assert len(request) == HEADER_BYTES
    pieces = [request[start : start + size] for start in range(0, len(request), size)]
    _, answer = await GatewayInProcess().talk(pieces)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_as_many_header_lines_as_may_be_are_read_and_one_more_is_not() -> None:
    lines = b"a: a\r\n" * (HEADER_LINES - 1)
    _, answer = await GatewayInProcess().talk([GET + lines + b"\r\n"])
    assert answer.startswith(b"HTTP/1.1 200 ")
    _, answer = await GatewayInProcess().talk([GET + lines + b"b: b\r\n\r\n"])
    assert answer.startswith(b"HTTP/1.1 431 ") and b"headers_too_large" in answer


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (CHUNKED + b"1;", b"a"),
        (CHUNKED + b"1;a=", b"a"),
        (CHUNKED, b"1;" + b"a" * 500 + b"\r\n \r\n"),
        (CHUNKED + b"0\r\n", b"a: a\r\n"),
        (CHUNKED + b"0\r\nA: ", b"a"),
    ],
    ids=["extension", "value", "extensions", "trailers", "trailer"],
)
async def test_chunks_that_are_all_framing_are_refused_early(begin: bytes, more: bytes) -> None:
    gateway = GatewayInProcess()
    taken, answer = await gateway.talk(without_end(begin, more))
    assert taken <= FRAMING_BYTES + 3 * READ
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert not gateway.cluster.tasks


async def test_a_body_may_come_one_byte_a_chunk() -> None:
    body = json.dumps({"model": "stub-chat", "prompt": "x" * 20_000}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nX-Sum: 7\r\n\r\n"
    _, answer = await GatewayInProcess().talk([CHUNKED, chunks])
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_nobody_reads_is_not_read_for_ever(keys: KeyFile) -> None:
    gateway = GatewayInProcess(keys=keys)
    header = POST + b"Content-Length: 1000000000\r\n\r\n"
    taken, answer = await gateway.talk(without_end(header, b"a"))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert taken <= DISCARDED_BYTES + 2 * READ


async def test_bodies_of_all_requests_together_are_bounded_and_free_their_memory() -> None:
    gateway = GatewayInProcess()
    piece = b'"' + b"a" * (4 * 1024 * 1024 - 10)
    header = POST + b"Content-Length: %d\r\n\r\n" % (len(piece) + 5)
    open_ones = []
    for _ in range(CLIENT_BODIES_BYTES // len(piece) + 1):
        connection, wire = gateway.connect()
        for start in range(0, len(header + piece), READ):
            connection.data_received((header + piece)[start : start + READ])
            await asyncio.sleep(0)
        await gateway.settle(50)
        open_ones.append(wire)
    refused = [wire for wire in open_ones if wire.sent]
    assert len(refused) == 1
    assert refused[0].sent.startswith(b"HTTP/1.1 429 ") and b"retry-after" in refused[0].sent
    for wire in open_ones:
        wire.close()
    await gateway.settle()
    body = b'{"model": "stub-chat", "prompt": "a b"}'
    for _ in range(2):
        _, answer = await gateway.talk([POST + b"Content-Length: %d\r\n\r\n" % len(body) + body])
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_what_is_left_of_an_unwanted_body_is_not_kept(keys: KeyFile) -> None:
    gateway = GatewayInProcess(keys=keys)
    connection, wire = gateway.connect()
    connection.data_received(POST + b"Content-Length: 100000\r\n\r\n" + b"a" * 60_000)
    await gateway.settle()
    assert wire.sent.startswith(b"HTTP/1.1 401 ") and not wire.over
    assert not connection.cycle.body


async def test_requests_may_follow_each_other_unasked_but_not_without_number() -> None:
    _, answer = await GatewayInProcess().talk([(GET + b"\r\n") * (PIPELINED + 1)])
    assert answer.count(b"HTTP/1.1 200 ") == PIPELINED + 1
    gateway = GatewayInProcess()
    connection, wire = gateway.connect()
    connection.data_received((GET + b"\r\n") * 1000)
    assert wire.over and len(connection.pipeline) <= PIPELINED + 1


async def test_what_is_not_http_is_refused_without_harm_to_an_answer_under_way() -> None:
    _, answer = await GatewayInProcess().talk([b"\x16\x03\x01 what is this?\r\n\r\n"])
    assert answer.startswith(b"HTTP/1.1 400 ")
    gateway = GatewayInProcess()
    connection, wire = gateway.connect()
    go_on = asyncio.Event()
    gateway.cluster.script = after_two_words(go_on.wait)
    body = b'{"model": "stub-chat", "prompt": "a b", "stream": true}'
    connection.data_received(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await gateway.settle(20)
    assert b"two" in wire.sent
    connection.data_received(b"\x00 garbage\r\n\r\n")
    await gateway.settle()
    assert wire.over and b"HTTP/1.1 400" not in wire.sent


async def test_when_connections_run_out_the_one_that_idles_longest_goes() -> None:
    gateway = GatewayInProcess(most_connections=3)
    idle = [gateway.connect() for _ in range(3)]
    idle[0][0].data_received(GET + b"\r\n")  # has been answered, so it idles since then
    await gateway.settle()
    _, fourth = gateway.connect()
    assert [wire.over for _, wire in idle] == [False, True, False]
    assert not fourth.over


async def test_connections_with_requests_are_not_ended_for_new_ones() -> None:
    gateway = GatewayInProcess(most_connections=2)
    busy = [gateway.connect() for _ in range(2)]
    for connection, _ in busy:
        connection.data_received(POST + b"Content-Length: 100\r\n\r\n{")
    await gateway.settle(10)
    _, third = gateway.connect()
    assert third.over and third.sent.startswith(b"HTTP/1.1 503 ")
    assert not any(wire.over for _, wire in busy)
    for _, wire in busy:
        wire.close()
    await gateway.settle()
    assert not gateway.state.tasks


async def test_trailers_are_for_nobody() -> None:
    gateway = GatewayInProcess()
    body = b'{"model": "stub-chat", "prompt": "x"}'
    chunk = b"%x\r\n%s\r\n0\r\nX-Request-Id: forged\r\n\r\n" % (len(body), body)
    _, answer = await gateway.talk([CHUNKED + chunk])
    assert answer.startswith(b"HTTP/1.1 200 ") and b"forged" not in answer
