"""A llama-server in a child process, spoken to over a Unix socket that only this user can open."""

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineDied, EngineOutOfMemory
from daiic.worker.engines.llama_cpp.program import Options, command

BASE = "http://llama"
POLL = 0.05
PATIENCE = 10.0
"""Seconds that it has to end."""
MAX_LINE = 1 << 20
"""Bytes of one event or line of the log."""
LINES = 40
_PR_SET_PDEATHSIG = 1
_NO_MEMORY = ("out of memory", "failed to allocate", "bad_alloc", "unable to allocate")


class Server:
    """The process and its socket; a `chat.Server`."""

    def __init__(self, process: asyncio.subprocess.Process, place: Path, socket: Path) -> None:
        self._process = process
        self._place = place
        self._said: deque[str] = deque(maxlen=LINES)
        self._reader = asyncio.create_task(self._listen())
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(socket),
                # It closes a connection now and then, maybe while a request is on its way.
                limits=httpx.Limits(max_keepalive_connections=0),
            ),
            base_url=BASE,
            timeout=None,
        )

    @classmethod
    async def start(cls, options: Options, progress: Callable[[float], None]) -> "Server":
        """Start a server and wait until it has loaded its model; `options.socket` is set here.

        Raises:
            TaskError: BAD_REQUEST if it cannot load the model.
            EngineOutOfMemory: if there is not enough memory for it.
        """
        place = Path(tempfile.mkdtemp(prefix="daiic-llama-"))
        try:
            options = replace(options, socket=place / "llama.sock")
            process = await asyncio.create_subprocess_exec(
                *await command(options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE,
                preexec_fn=_die_with_parent,
                env={**os.environ, "LLAMA_CACHE": str(place), "HF_HUB_OFFLINE": "1"},
            )
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        server = cls(process, place, options.socket)
        try:
            while not await server._ready():  # noqa: ASYNC110
                await asyncio.sleep(POLL)
        except BaseException:
            await server.close()
            raise
        progress(1.0)
        return server

    async def _ready(self) -> bool:
        if self._process.returncode is not None:
            await self._reader
            if self._lacked_memory():
                raise EngineOutOfMemory("llama-server had too little memory to load the model")
            raise TaskError(
                pb.BAD_REQUEST,
                f"llama.cpp cannot load the model: {self._last_words()}",
                "check the file, or use a newer llama.cpp",
            )
        try:
            return (await self._client.get("/health")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    @property
    def bytes(self) -> int:
        """Memory that the process holds now."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def get(self, path: str) -> Mapping[str, Any]:
        """Return the JSON at `path`; errors are those of `post`."""
        return await self._answered(self._client.build_request("GET", path))

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the JSON with which it answers `body`.

        Raises:
            TaskError: BAD_REQUEST if it refuses what is asked, else INTERNAL.
            EngineDied, EngineOutOfMemory: if the process is gone.
        """
        return await self._answered(self._client.build_request("POST", path, json=dict(body)))

    async def _answered(self, request: httpx.Request) -> Mapping[str, Any]:
        try:
            response = await self._client.send(request)
        except httpx.TransportError as error:
            raise await self._fault(error) from None
        if response.is_error:
            raise _refusal(response.content)
        value = json.loads(response.content)
        return value if isinstance(value, dict) else {"items": value}

    async def stream(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events with which it answers; closing cancels. Errors are those of `post`."""
        asked = {**body, "stream": True}
        try:
            async with self._client.stream("POST", path, json=asked) as response:
                if response.is_error:
                    raise _refusal(await response.aread())
                async for data in _events(response):
                    event = json.loads(data)
                    if "error" in event:
                        raise _refusal(data)
                    yield event
        except httpx.TransportError as error:
            raise await self._fault(error) from None

    async def _fault(self, error: httpx.TransportError) -> Exception:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 2.0)
        if self.alive:
            return TaskError(pb.INTERNAL, f"llama-server broke off: {error}", "send the task again")
        await self._reader
        if self._lacked_memory():
            return EngineOutOfMemory("llama-server ran out of memory")
        return EngineDied(f"llama-server ended ({self._process.returncode}): {self._last_words()}")

    async def close(self) -> None:
        """End the process, at the latest after PATIENCE seconds."""
        await self._client.aclose()
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), PATIENCE)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        await self._reader
        shutil.rmtree(self._place, ignore_errors=True)

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than anybody wants to read
                continue
            if not line:
                return
            self._said.append(line.decode("utf-8", "replace").strip())

    def _lacked_memory(self) -> bool:
        killed = self._process.returncode == -signal.SIGKILL
        return killed or any(sign in line.lower() for line in self._said for sign in _NO_MEMORY)

    def _last_words(self) -> str:
        errors = [line for line in self._said if " E " in line or "error" in line.lower()]
        return (errors or list(self._said) or ["it said nothing"])[-1][:300]


async def _events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the data of server-sent events; httpx's lines would end at more than line feeds."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            kind, _, data = line.partition(b": ")
            if kind == b"error" or (kind == b"data" and data != b"[DONE]"):
                yield data
        if len(rest) > MAX_LINE:
            raise httpx.ReadError("an event without an end")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _refusal(content: bytes) -> TaskError:
    try:
        error = json.loads(content)["error"]
        code, message = int(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = 500, content[:200].decode("utf-8", "replace")
    if code == 400:
        return TaskError(pb.BAD_REQUEST, f"llama.cpp refuses the task: {message}", "change it")
    return TaskError(pb.INTERNAL, f"llama.cpp failed: {message}", "send the task again")
