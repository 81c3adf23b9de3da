"""A llama-server in a child process, spoken to over a Unix socket that only this user can open."""

import asyncio
import contextlib
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
from daiic.worker.engines.llama_cpp.draft import check_draft
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.program import Options
from daiic.worker.engines.replies import DONE, Replies
from daiic.worker.engines.server_connection import SLOWEST, connection, healthy, until_loaded
from daiic.worker.limits import LIMITS
from daiic.worker.models.gguf.files import size_of

POLL = 0.05
LOAD_PATIENCE = LIMITS.load_patience
QUIET = {"GGML_NO_BACKTRACE": "1"}
"""It dies at once then, and does not call a debugger before."""
REPLIES = Replies("llama-server")
_FULL = "Context size has been exceeded"
"""It fails all its tasks then; they were let in so that it does not come to that."""
LINES = 400
"""Of what it says; it tells of each of its slots."""
_NO_MEMORY = ("out of memory", "failed to allocate", "bad_alloc", "unable to allocate")


class Server:
    """The process and its socket; a `rendering.Server`.

    `begun` streams have sent something and not ended, so many requests were `given_up` so far, and
    `lingering` ones will be.
    """

    def __init__(self, child: Child, place: Path, socket: Path) -> None:
        """`place` is a folder of its own, which goes with it."""
        self.given_up = 0
        self.begun = 0
        self.lingering: set[asyncio.Task[None]] = set()
        self._child = child
        self._place = place
        self._killed = ""
        self._client = connection(socket)

    @classmethod
    async def start(
        cls, options: Options, progress: Callable[[float], None], program: LlamaServer
    ) -> "Server":
        """Start `program` and wait until it has loaded its model; `options.socket` is set here.

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
                await program.command(options),
                {"LLAMA_CACHE": str(place), "HF_HUB_OFFLINE": "1", **QUIET},
                lines=LINES,
            )
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        server = cls(child, place, options.socket)
        await until_loaded(
            server._ready,
            server.close,
            LOAD_PATIENCE + size_of(options.model) / SLOWEST,
            POLL,
            lambda seconds: TaskError(
                pb.BAD_REQUEST,
                f"llama.cpp has not loaded the model in {seconds:.0f} s",
                "a chat template that never ends may be in it: choose another file",
            ),
        )
        if options.draft is not None:
            try:
                await asyncio.sleep(POLL)  # to read what it has said
                check_draft(options.draft, child.said)
            except BaseException:
                await server.close()
                raise
        progress(1.0)
        return server

    async def _ready(self) -> bool:
        if not self.alive:
            await self._child.ended()
            if self._child.lacked_memory(_NO_MEMORY):
                raise EngineOutOfMemory(f"llama-server: {self._child.last_words()}")
            raise TaskError(
                pb.BAD_REQUEST,
                f"llama.cpp cannot load the model: {self._child.last_words()}",
                "check the file, or use a newer llama.cpp",
            )
        return await healthy(self._client)

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
        ended = False
        try:
            response = await self._client.send(request, stream=True)
            try:
                content = await REPLIES.whole(response)
                ended = True
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise await self._fault(error) from None
        finally:
            self.given_up += not ended
        if response.is_error:
            raise _refusal(content)
        value = REPLIES.parsed(content)
        return value if isinstance(value, dict) else {"items": value}

    async def stream(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events with which it answers; closing cancels. Errors are those of `post`."""
        asked = {**body, "stream": True}
        begun = ended = False
        try:
            async with self._client.stream("POST", path, json=asked) as response:
                if response.is_error:
                    refused = await REPLIES.refused(response)
                    ended = True
                    raise _refusal(refused)
                begun = True
                self.begun += 1
                async for data in REPLIES.events(response):
                    if data == DONE:
                        continue
                    event = REPLIES.parsed(data)
                    if not isinstance(event, dict) or "error" in event:
                        raise _refusal(data)
                    yield event
                ended = True
        except httpx.TransportError as error:
            raise await self._fault(error) from None
        finally:
            self.begun -= begun
            self.given_up += not ended

    async def _fault(self, error: httpx.TransportError) -> Exception:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._child.ended(), 2.0)
        if self.alive:
            return REPLIES.broken(str(error))
        if self._killed:
            return EngineDied(self._killed)
        if self._child.lacked_memory(_NO_MEMORY):
            return EngineOutOfMemory("llama-server ran out of memory")
        return EngineDied(
            f"llama-server ended ({self._child.returncode}): {self._child.last_words()}"
        )

    def kill(self, why: str) -> None:
        """End the process at once, even one that is stopped; its tasks learn `why` it died."""
        if self.alive:
            self._killed = why
            self._child.send(signal.SIGKILL)

    async def close(self) -> None:
        """End the process."""
        if self.alive:  # maybe with force, which looks like the kernel's
            self._killed = self._killed or "llama-server was ended"
        await self._client.aclose()
        await self._child.close()
        shutil.rmtree(self._place, ignore_errors=True)


def _refusal(content: bytes) -> Exception:
    """Return the error that `content` tells: a TaskError, or an EngineOutOfMemory."""
    error = REPLIES.refusal(content)
    if _FULL in error.message:
        return EngineOutOfMemory("llama-server's cache was too small for its tasks")
    return error
