"""Who `engines.py` and others measure: what answers prompts, and the processes that this takes."""

import asyncio
import contextlib
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
from generate_process import GenerateProcess

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.processes.daemon import Daemon

LOADING = 300.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Seconds until the first token and until the end, and how many tokens there were."""

    first: float
    whole: float
    tokens: int


class Contender(Protocol):
    """Something that continues texts."""

    name: str

    @property
    def pids(self) -> Iterable[int]:
        """The processes that serve, without their children."""

    async def serve(self, prompts: Sequence[str], tokens: int) -> list[Reply]:
        """Continue all `prompts` at once, greedily, with at most `tokens` each."""


def processes(pids: Iterable[int]) -> list[psutil.Process]:
    """Return the processes and their descendants."""
    roots = [psutil.Process(pid) for pid in pids]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that they have used."""
    return sum(sum(process.cpu_times()[:2]) for process in processes(pids))


def memory(pids: Iterable[int]) -> int:
    """Return the bytes that they hold."""
    return sum(process.memory_info().rss for process in processes(pids))


class LlamaServer:
    """llama-server, with the arguments that a worker has given to its own."""

    def __init__(
        self,
        pid: int,
        model: Path,
        socket: Path,
        environment: dict[str, str],
        *,
        name: str = "llama-server",
        options: Mapping[str, str | None] | None = None,
        others: Sequence[Daemon] = (),
    ) -> None:
        """`pid` is that of a worker with `model`; `socket` is where this one listens.

        `options` are given to this one alone, or left out where they are `None`; `others` serve
        too.
        """
        self.name = name
        self._others = others
        (own,) = (
            process
            for process in psutil.Process(pid).children(recursive=True)
            if "--model" in process.cmdline()
        )
        command = own.cmdline()
        command[command.index("--host") + 1] = str(socket)
        command[command.index("--model") + 1] = str(model)
        for option, value in (options or {}).items():
            place = command.index(option)
            command[place : place + 2] = [] if value is None else [option, value]
        self.cache = int(command[command.index("--ctx-size") + 1])
        self._socket = socket
        self._daemon = Daemon(*command, environment=environment)
        self._daemon.start()

    @property
    def pids(self) -> Iterable[int]:
        return [self._daemon.pid, *(other.pid for other in self._others)]

    async def ready(self) -> None:
        """Wait until it has loaded its model."""
        async with asyncio.timeout(LOADING):
            while True:
                if self._daemon.exit_status is not None:
                    raise SystemExit(f"llama-server ended:\n{self._daemon.log}")
                with contextlib.suppress(OSError):
                    if await self._whole("GET", "/health", {}):
                        return
                await asyncio.sleep(0.1)

    async def count(self, text: str) -> int:
        """Return how many tokens `text` has."""
        tokens = await self._whole("POST", "/tokenize", {"content": text, "add_special": True})
        return len(tokens["tokens"])

    async def serve(self, prompts: Sequence[str], tokens: int) -> list[Reply]:
        return await asyncio.gather(*(self._one(prompt, tokens) for prompt in prompts))

    async def _one(self, prompt: str, tokens: int) -> Reply:
        return await self.complete({"prompt": prompt, "n_predict": tokens, "temperature": 0})

    async def complete(self, asked: Mapping[str, object]) -> Reply:
        """Continue as its own API is asked to."""
        opening = asyncio.open_unix_connection(str(self._socket), limit=1 << 22)
        first, whole, last = await _stream(opening, "/completion", {**asked, "stream": True})
        return Reply(first, whole, json.loads(last)["tokens_predicted"])

    async def _whole(self, method: str, path: str, body: object) -> dict:
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=1 << 22)
        writer.write(_request(method, path, body))
        answer = await reader.read()
        writer.close()
        head, _, content = answer.partition(b"\r\n\r\n")
        return json.loads(content) if b" 200 " in head.partition(b"\r\n")[0] else {}

    async def close(self) -> None:
        """End it."""
        await self._daemon.kill()


class Daemons(ABC):
    """A contender that is made of daemons, and gets each prompt by itself."""

    def __init__(self, name: str, *daemons: Daemon) -> None:
        self.name = name
        self._daemons = daemons

    @property
    def pids(self) -> Iterable[int]:
        return [daemon.pid for daemon in self._daemons]

    async def serve(self, prompts: Sequence[str], tokens: int) -> list[Reply]:
        return await asyncio.gather(*(self._one(prompt, tokens) for prompt in prompts))

    @abstractmethod
    async def _one(self, prompt: str, tokens: int) -> Reply:
        """Continue one prompt."""


class Mesh(Daemons):
    """DAIIC's client, a head and a worker."""

    def __init__(
        self,
        name: str,
        client: ClusterClient,
        model: str,
        *daemons: Daemon,
        shards: pb.ShardPlan | None = None,
    ) -> None:
        super().__init__(name, *daemons)
        self._client = client
        self._task = pb.Task(model=model, stream=True, shards=shards)

    async def _one(self, prompt: str, tokens: int) -> Reply:
        task = pb.Task(text=pb.TextTask(prompt=prompt, max_tokens=tokens, temperature=0))
        task.MergeFrom(self._task)
        began = time.perf_counter()
        first, made = 0.0, 0
        async for part in self._client.run(task):
            made += len(part.tokens)
            if made and not first:
                first = time.perf_counter() - began
        return Reply(first, time.perf_counter() - began, made)


class WholePath(Daemons):
    """An HTTP client, a gateway, a head and a worker."""

    def __init__(self, name: str, address: str, model: str, *daemons: Daemon) -> None:
        super().__init__(name, *daemons)
        self._host, _, self._port = address.rpartition(":")
        self._model = model

    async def _one(self, prompt: str, tokens: int) -> Reply:
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        opening = asyncio.open_connection(self._host, int(self._port), limit=1 << 22)
        first, whole, last = await _stream(opening, "/v1/completions", body)
        return Reply(first, whole, json.loads(last)["usage"]["completion_tokens"])


class Generate:
    """`generate` of transformers, all prompts as one static batch: what it is best at."""

    name = "generate"

    def __init__(self, model: Path, threads: int) -> None:
        self._process = GenerateProcess(model, threads)

    @property
    def pids(self) -> Iterable[int]:
        return [self._process.pid]

    async def serve(self, prompts: Sequence[str], tokens: int) -> list[Reply]:
        began = time.perf_counter()
        first, made = await self._process.serve(list(prompts), tokens)
        whole = time.perf_counter() - began
        return [Reply(first, whole, made // len(prompts)) for _ in prompts]

    async def close(self) -> None:
        """End it."""
        self._process.close()


def worker(environment: dict[str, str], **settings: object) -> Daemon:
    """Return a worker that is not forked, so that it costs what it does for users."""
    free = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0", "allow_downloads": False}
    return Daemon("daiic-worker", environment=environment, **(free | settings))


async def _stream(opening, path: str, body: object) -> tuple[float, float, bytes]:  # type: ignore[no-untyped-def]
    """Return the seconds to the first text and to the end, and the data of the last event.

    A client that costs next to nothing: it shares the machine with what it measures.
    """
    began = time.perf_counter()
    reader, writer = await opening
    writer.write(_request("POST", path, body))
    first, last, refusal = 0.0, b"", b""
    async for line in reader:
        if not line.startswith(b"data: ") or b"[DONE]" in line:
            refusal += line[: 1 << 10] if not last else b""
            continue
        if not first and b'"text":""' not in line:
            first = time.perf_counter() - began
        last = line[len(b"data: ") :]
    writer.close()
    if not last:
        sys.exit(f"{path} did not answer:\n{refusal.decode(errors='replace')}")
    return first, time.perf_counter() - began, last


def _request(method: str, path: str, body: object) -> bytes:
    content = json.dumps(body).encode() if method == "POST" else b""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def environment(threads: int, programs: Path) -> dict[str, str]:
    """Return what all of them have in their environments."""
    path = (
        f"{programs}{os.pathsep}{os.environ['PATH']}" if programs.is_dir() else os.environ["PATH"]
    )
    return {"PATH": path, "OMP_NUM_THREADS": str(threads)}
