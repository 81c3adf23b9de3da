"""What a gateway adds to a completion, at 1, 64 and 512 requests at once, and what a stream costs.

The answer is ready at once, so that all of the time measured is the way there and back: for DAIIC
client, gateway, head, worker stub; for LiteLLM's proxy (`--litellm`, an executable of an
environment of its own) client, proxy, OpenAI stub. `direct` is the same client on the OpenAI stub,
which is what the client itself costs. Client and stub share one process, each daemon has one.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Step, WorkerStub
from support.processes.gateway_process import gateway_process
from support.processes.head_process import HeadProcess

MODEL = "burst"
TOKENS = 32
LOADS = {1: 400, 64: 4096, 512: 8192}
"""Requests at once, and how many in all."""
SLOW_LOADS = {1: 200, 64: 1024, 512: 2048}
"""The same for a proxy that would take minutes."""
STREAMS = 2000
START = 120.0
LITELLM_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    # Neither side asks for a key here.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


def burst(task: pb.Task) -> Iterator[Step]:
    """Answer at once: in one part, or in as many as there are tokens."""
    usage = pb.Usage(prompt_tokens=4, completion_tokens=TOKENS)
    end = {"final": True, "finish_reason": pb.FINISH_REASON_STOP, "usage": usage}
    if not task.stream:
        yield pb.Result(text="token " * TOKENS, **end)
        return
    for number in range(TOKENS):
        yield pb.Result(text="token ", tokens=[number])
    yield pb.Result(**end)


def held(task: pb.Task) -> Iterator[Step]:
    """Say one word and then nothing more."""
    yield pb.Result(text="one", tokens=[1])
    yield 3600.0


# ------------------------------------------------------------ the OpenAI stub


def _chunk(**choice: object) -> bytes:
    choices = [{"index": 0, "finish_reason": None, "delta": {}, **choice}]
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return b"data: %s\n\n" % json.dumps({**body, "choices": choices}).encode()


WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "token " * TOKENS},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 4, "completion_tokens": TOKENS, "total_tokens": TOKENS + 4},
    }
).encode()
EVENTS = [
    *[_chunk(delta={"role": "assistant", "content": "token "}) for _ in range(TOKENS)],
    _chunk(finish_reason="stop"),
    b"data: [DONE]\n\n",
]
WHOLE_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)
) + WHOLE
STREAM_HEADER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class OpenAiStub(asyncio.Protocol):
    """Just enough of an OpenAI server for a proxy to stand before: each event is one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._data) < end + 4 + length:
                return
            body = self._data[end + 4 : end + 4 + length]
            self._data = self._data[end + 4 + length :]
            if b'"stream":true' in body.replace(b" ", b""):
                self._transport.write(STREAM_HEADER)
                for event in EVENTS:
                    self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
                self._transport.write(b"0\r\n\r\n")
            else:
                self._transport.write(WHOLE_ANSWER)


# ------------------------------------------------------------------ the client


@dataclass
class Outcome:
    """Seconds to the first byte of an answer that says something, and to its end."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0


class Client(asyncio.Protocol):
    """One connection that asks again and again, as cheaply as can be."""

    def __init__(self, request: bytes, stream: bool, left: list[int], outcome: Outcome) -> None:
        self._request = request
        self._stream = stream
        self._left = left
        self._outcome = outcome
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if not self._left[0]:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._left[0] -= 1
        self._answer = bytearray()
        self._first = 0.0
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._answer += data
        if not self._first and b"token " in data:
            self._first = now
        if self._stream:
            complete = self._answer.endswith(b"0\r\n\r\n")
            good = complete and b"[DONE]" in self._answer[-64:]
        else:
            complete = self._complete()
            good = complete
        if not complete and self._answer.startswith(b"HTTP/1.1 200"):
            return
        if good and self._answer.startswith(b"HTTP/1.1 200") and self._first:
            self._outcome.first.append(self._first - self._sent)
            self._outcome.whole.append(now - self._sent)
        else:
            self._outcome.failed += 1
        self._ask()

    def _complete(self) -> bool:
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._answer[:end]).lower()
        if b"transfer-encoding: chunked" in head:
            return self._answer.endswith(b"0\r\n\r\n")
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return len(self._answer) >= end + 4 + length

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._outcome.failed += 1
            self.done.set_result(None)


async def measure(host: str, port: int, stream: bool, at_once: int, requests: int) -> Outcome:
    """Keep `at_once` requests under way until `requests` have been answered."""
    messages = [{"role": "user", "content": "Say it."}]
    body = json.dumps({"model": MODEL, "messages": messages, "stream": stream}).encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Content-Type: application/json\r\nAuthorization: Bearer none\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop = asyncio.get_running_loop()
    outcome = Outcome()
    left = [requests]
    begin = time.perf_counter()
    clients = await asyncio.gather(
        *(
            loop.create_connection(lambda: Client(request, stream, left, outcome), host, port)
            for _ in range(at_once)
        )
    )
    await asyncio.gather(*(client.done for _, client in clients))
    outcome.seconds = time.perf_counter() - begin
    return outcome


def show(name: str, stream: bool, at_once: int, outcome: Outcome) -> None:
    if not outcome.whole:
        print(f"{name:9} {'stream' if stream else 'whole':6} {at_once:4}  all failed", flush=True)
        return

    def cuts(values: list[float]) -> tuple[float, float]:
        percentiles = statistics.quantiles(values, n=100)
        return percentiles[49] * 1000, percentiles[98] * 1000

    first, whole = cuts(outcome.first), cuts(outcome.whole)
    print(
        f"{name:9} {'stream' if stream else 'whole':6} {at_once:4}  "
        f"first token p50 {first[0]:8.2f} p99 {first[1]:8.2f} ms   "
        f"end p50 {whole[0]:8.2f} p99 {whole[1]:8.2f} ms   "
        f"{len(outcome.whole) / outcome.seconds:7.0f} requests/s   {outcome.failed} failed",
        flush=True,
    )


async def compare(name: str, host: str, port: int, loads: dict[int, int]) -> None:
    for stream in (False, True):
        await measure(host, port, stream, 8, 100)  # everything imported and warm
        for at_once, requests in loads.items():
            show(name, stream, at_once, await measure(host, port, stream, at_once, requests))


# ------------------------------------------------------------------- subjects


async def daiic() -> None:
    async with HeadProcess(http_listen="", queue_size=4096) as head:
        worker = await WorkerStub.open(
            [head.address], models={MODEL: pb.LOADED, "held": pb.LOADED}, slots=4096
        )
        worker.scripts |= {MODEL: burst, "held": held}
        await head.wait_for_workers(1)
        async with gateway_process(f"--heads={head.address}") as gateway:
            await gateway.ready()
            await compare("DAIIC", *gateway.host_port, LOADS)
        async with gateway_process(f"--heads={head.address}") as gateway:
            await gateway.ready()
            await hold_streams(gateway)
        await worker.close()


async def hold_streams(gateway) -> None:  # type: ignore[no-untyped-def]
    """Print what `STREAMS` open streams cost in memory."""
    host, port = gateway.host_port
    body = json.dumps({"model": "held", "prompt": "x", "stream": True}).encode()
    request = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    before = gateway.rss()
    writers = []

    async def begin() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request)
        await reader.readuntil(b'"one"')
        writers.append(writer)

    begun = time.perf_counter()
    await asyncio.gather(*(begin() for _ in range(STREAMS)))
    seconds = time.perf_counter() - begun
    print(
        f"DAIIC     {len(writers)} streams open at once, all begun in {seconds:.1f} s: "
        f"{(gateway.rss() - before) / len(writers) / 1024:.1f} KiB of memory each "
        f"({before >> 20} MiB before, {gateway.rss() >> 20} MiB now)",
        flush=True,
    )
    for writer in writers:
        writer.close()


@contextlib.asynccontextmanager
async def openai_stub() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(
        OpenAiStub, "127.0.0.1", 0, backlog=4096
    )
    yield server.sockets[0].getsockname()[1]
    server.close()


async def litellm(executable: str) -> None:
    async with openai_stub() as stub:
        await compare("direct", "127.0.0.1", stub, LOADS)
        if executable:
            async with litellm_process(executable, stub) as port:
                await compare("LiteLLM", "127.0.0.1", port, SLOW_LOADS)


@contextlib.asynccontextmanager
async def litellm_process(executable: str, stub: int) -> AsyncIterator[int]:
    parameters = {
        "model": f"openai/{MODEL}",
        "api_base": f"http://127.0.0.1:{stub}/v1",
        "api_key": "none",
    }
    config = {"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}
    async with openai_stub() as free:
        port = free
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            executable,
            *("--config", str(file), "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", "1", "--telemetry", "False"),
            cwd=folder,
            env={**os.environ, **LITELLM_ENVIRONMENT},
            stdout=(Path(folder) / "log").open("wb"),
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(START):
                while process.returncode is None:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        await asyncio.sleep(0.2)
                    else:
                        writer.close()
                        break
            assert process.returncode is None, (Path(folder) / "log").read_text()
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm", default="", help="the `litellm` executable to compare with")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {TOKENS} tokens an answer")
    await daiic()
    await litellm(options.litellm)
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    uvloop.run(main())
