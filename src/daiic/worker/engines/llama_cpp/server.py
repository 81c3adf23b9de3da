"""A llama-server in a child process, spoken to over a Unix socket that only this user can open."""

import asyncio
import contextlib
import json
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.child import Child
from daiic.worker.engines.interface import EngineDied, EngineOutOfMemory
from daiic.worker.engines.llama_cpp.devices import PROGRAM
from daiic.worker.engines.llama_cpp.program import Options, command
from daiic.worker.limits import LIMITS
from daiic.worker.models.gguf.files import size_of

BASE = "http://llama"
POLL = 0.05
LOAD_PATIENCE = LIMITS.load_patience
SLOWEST = 10_000_000
"""Bytes of a model that are loaded in a second, at the least."""
MAX_LINE = 1 << 20
"""Bytes of one event."""
QUIET = {"GGML_NO_BACKTRACE": "1"}
"""It dies at once then, and does not call a debugger before."""
MAX_REPLY = 512 << 20
"""Bytes of a reply that is no stream: embeddings of many texts are the longest."""
_NO_MEMORY = ("out of memory", "failed to allocate", "bad_alloc", "unable to allocate")


class Server:
    """The process and its socket; a `chat.Server`."""

    def __init__(self, child: Child, place: Path, socket: Path) -> None:
        """`place` is a folder of its own, which goes with it."""
        self._child = child
        self._place = place
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(socket),
                # It closes a connection now and then, maybe while a request is on its way.
                limits=httpx.Limits(max_keepalive_connections=0),
            ),
            base_url=BASE,
            timeout=None,
            trust_env=False,
        )

    @classmethod
    async def start(cls, options: Options, progress: Callable[[float], None]) -> "Server":
        """Start a server and wait until it has loaded its model; `options.socket` is set here.

        Raises:
            TaskError: BAD_REQUEST if it cannot load the model, or not within LOAD_PATIENCE seconds
                and those that files of its size may take.
            EngineOutOfMemory: if there is not enough memory for it.
        """
        place = Path(tempfile.mkdtemp(prefix="daiic-llama-"))
        try:
            options = replace(options, socket=place / "llama.sock")
            child = await Child.start(
                PROGRAM,
                await command(options),
                {"LLAMA_CACHE": str(place), "HF_HUB_OFFLINE": "1", **QUIET},
            )
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        server = cls(child, place, options.socket)
        patience = LOAD_PATIENCE + size_of(options.model) / SLOWEST
        try:
            async with asyncio.timeout(patience):
                while not await server._ready():  # noqa: ASYNC110
                    await asyncio.sleep(POLL)
        except TimeoutError:
            await server.close()
            raise TaskError(
                pb.BAD_REQUEST,
                f"llama.cpp has not loaded the model in {patience:.0f} s",
                "a chat template that never ends may be in it: choose another file",
            ) from None
        except BaseException:
            await server.close()
            raise
        progress(1.0)
        return server

    async def _ready(self) -> bool:
        if not self.alive:
            await self._child.ended()
            if self._lacked_memory():
                raise EngineOutOfMemory(f"llama-server: {self._child.last_words()}")
            raise TaskError(
                pb.BAD_REQUEST,
                f"llama.cpp cannot load the model: {self._child.last_words()}",
                "check the file, or use a newer llama.cpp",
            )
        try:
            async with self._client.stream("GET", "/health") as response:
                return response.status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child.alive

    @property
    def bytes(self) -> int:
        """Memory that the process holds now."""
        return self._child.bytes

    @property
    def processor_seconds(self) -> float:
        """Processor time that the process has taken so far."""
        return self._child.processor_seconds

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
            response = await self._client.send(request, stream=True)
            try:
                content = await _whole(response)
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise await self._fault(error) from None
        if response.is_error:
            raise _refusal(content)
        value = _parsed(content)
        return value if isinstance(value, dict) else {"items": value}

    async def stream(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events with which it answers; closing cancels. Errors are those of `post`."""
        asked = {**body, "stream": True}
        try:
            async with self._client.stream("POST", path, json=asked) as response:
                if response.is_error:
                    raise _refusal(await _whole(response))
                async for data in _events(response):
                    event = _parsed(data)
                    if not isinstance(event, dict) or "error" in event:
                        raise _refusal(data)
                    yield event
        except httpx.TransportError as error:
            raise await self._fault(error) from None

    async def _fault(self, error: httpx.TransportError) -> Exception:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._child.ended(), 2.0)
        if self.alive:
            return _broken(str(error))
        if self._lacked_memory():
            return EngineOutOfMemory("llama-server ran out of memory")
        return EngineDied(
            f"llama-server ended ({self._child.returncode}): {self._child.last_words()}"
        )

    def kill(self) -> None:
        """End the process at once; its tasks learn that it died."""
        self._child.send(signal.SIGABRT)  # not as for want of memory

    async def close(self) -> None:
        """End the process."""
        await self._client.aclose()
        await self._child.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def _lacked_memory(self) -> bool:
        killed = self._child.returncode == -signal.SIGKILL
        return killed or any(
            sign in line.lower() for line in self._child.said for sign in _NO_MEMORY
        )


async def _whole(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_REPLY:
            raise _broken(f"its reply is longer than {MAX_REPLY} bytes")
    return bytes(content)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise _broken("its reply is no JSON") from None


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
            raise _broken("an event has no end")


def _broken(why: str) -> TaskError:
    return TaskError(pb.INTERNAL, f"llama-server broke off: {why}", "send the task again")


def _refusal(content: bytes) -> TaskError:
    try:
        error = json.loads(content)["error"]
        code, message = int(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code, message = 500, content[:200].decode("utf-8", "replace")
    if code == 400:
        return TaskError(pb.BAD_REQUEST, f"llama.cpp refuses the task: {message}", "change it")
    return TaskError(pb.INTERNAL, f"llama.cpp failed: {message}", "send the task again")
