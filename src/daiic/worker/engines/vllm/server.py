"""A vLLM in child processes, spoken to over a Unix socket that only this user can open."""

import asyncio
import contextlib
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from daiic.errors import TaskError
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb
from daiic.worker.child import Child
from daiic.worker.engines.interface import EngineDied, EngineOutOfMemory
from daiic.worker.engines.replies import DONE, Replies
from daiic.worker.engines.server_connection import SLOWEST, connection, healthy, until_loaded
from daiic.worker.engines.vllm.program import PROGRAM, Options, command
from daiic.worker.limits import LIMITS

COMPLETIONS = "/v1/completions"
POLL = 0.1
LOAD_PATIENCE = 3 * LIMITS.load_patience
"""Seconds beside those that the weights take: it imports much, and compiles on cards."""
REPLIES = Replies("vLLM")
SHOWN = 300
LINES = 1000
"""It tells one error as several processes see it, each with the way that led to it."""
_CAUSE = re.compile(r"(?:(?<=\] )|(?<=\) )|^)\w*(?:Error|Exception): .+")
_NO_MEMORY = ("out of memory", "no available memory for the cache", "less than requested memory")


class Server:
    """The processes and their socket."""

    def __init__(self, child: Child, place: Path, socket: Path) -> None:
        """`place` is a folder of its own, which goes with it."""
        self._child = child
        self._place = place
        self._family: list[psutil.Process] = []
        self._client = connection(socket)

    @classmethod
    async def start(
        cls, options: Options, weights: int, progress: Callable[[float], None]
    ) -> "Server":
        """Start a server and wait until it has loaded its model, whose files have `weights` bytes.

        Raises:
            TaskError: BAD_REQUEST if it cannot load the model, or not in time; UNSUPPORTED if
                there is no vLLM.
            EngineOutOfMemory: if there is not enough memory for it.
        """
        place = Path(tempfile.mkdtemp(prefix="daiic-vllm-"))
        socket = place / "vllm.sock"
        try:
            child = await Child.start(
                PROGRAM,
                command(options, socket),
                options.environment(place),
                ending=signal.SIGTERM,
                lines=LINES,
            )
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        server = cls(child, place, socket)
        await until_loaded(
            server._ready,
            server.close,
            LOAD_PATIENCE + weights / SLOWEST,
            POLL,
            lambda seconds: TaskError(
                pb.BAD_REQUEST,
                f"vLLM has not loaded the model in {seconds:.0f} s",
                "see the worker's log at log_level = debug",
            ),
        )
        server._family = _family_of(child.pid)
        progress(1.0)
        return server

    async def _ready(self) -> bool:
        if not self.alive:
            await self._child.ended()
            if self._child.lacked_memory(_NO_MEMORY):
                raise EngineOutOfMemory(f"vLLM: {self._cause()}")
            raise TaskError(
                pb.BAD_REQUEST,
                f"vLLM cannot load the model: {self._cause()}",
                'check whether this vLLM knows its architecture, or set engine = "auto"',
            )
        return await healthy(self._client)

    def _cause(self) -> str:
        """Return why it has not loaded: the first error, which those of other processes follow."""
        found = (_CAUSE.search(line) for line in self._child.said)
        cause = next((match[0] for match in found if match is not None), "")
        return shown(cause, SHOWN) if cause else self._child.last_words()

    @property
    def alive(self) -> bool:
        """Whether the processes run."""
        return self._child.alive

    @property
    def bytes(self) -> int:
        """RAM that the processes hold now."""
        return int(_sum(self._family, lambda process: process.memory_info().rss))

    @property
    def processor_seconds(self) -> float:
        """Processor time that the processes have taken so far."""
        return _sum(self._family, lambda process: sum(process.cpu_times()[:2]))

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events with which a completion is answered; closing cancels it.

        Raises:
            TaskError: BAD_REQUEST if it refuses what is asked, else INTERNAL.
            EngineDied, EngineOutOfMemory: if the processes are gone.
        """
        asked = {**body, "stream": True}
        try:
            async with self._client.stream("POST", COMPLETIONS, json=asked) as response:
                if response.is_error:
                    raise await self._failure(REPLIES.refusal(await REPLIES.refused(response)))
                async for data in REPLIES.events(response):
                    if data == DONE:
                        return
                    event = REPLIES.parsed(data)
                    if not isinstance(event, dict) or "error" in event:
                        raise await self._failure(REPLIES.refusal(data))
                    yield event
        except httpx.TransportError as error:
            raise await self._fault(str(error)) from None
        raise await self._fault("an answer has no end")

    async def _failure(self, error: TaskError) -> Exception:
        """Return what `error` is: in this way it tells of the death of what computes, too."""
        if error.code == pb.INTERNAL and self.alive and not await healthy(self._client):
            self._child.send(signal.SIGABRT)
            return await self._fault(error.message)
        return error

    async def _fault(self, why: str) -> Exception:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._child.ended(), 2.0)
        return REPLIES.broken(why) if self.alive else self._death()

    def _death(self) -> Exception:
        if self._child.lacked_memory(_NO_MEMORY):
            return EngineOutOfMemory("vLLM ran out of memory")
        return EngineDied(f"vLLM ended ({self._child.returncode}): {self._child.last_words()}")

    async def close(self) -> None:
        """End the processes."""
        await self._client.aclose()
        await self._child.close()
        shutil.rmtree(self._place, ignore_errors=True)


def _family_of(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []


def _sum(family: Sequence[psutil.Process], ask: Callable[[psutil.Process], float]) -> float:
    """Return the sum of what `ask` tells of those processes that are still there."""
    total = 0.0
    for process in family:
        with contextlib.suppress(psutil.Error):
            total += ask(process)
    return total
