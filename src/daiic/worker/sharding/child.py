"""A program that runs beside the worker and ends with it."""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import psutil

PATIENCE = 3.0
"""Seconds that it has to end."""
MAX_LINE = 1 << 16
LINES = 20
_PR_SET_PDEATHSIG = 1


class Child:
    """The process, and the last that it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: deque[str] = deque(maxlen=LINES)
        self._reader = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, *command: str, environment: Mapping[str, str] | None = None) -> "Child":
        """Start `command`; `environment` is added to this process's.

        Raises:
            OSError: if it cannot be started.
        """
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE,
                preexec_fn=_die_with_parent,
                env={**os.environ, **(environment or {})},
            )
        )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.returncode is None

    @property
    def bytes(self) -> int:
        """Memory that it holds now."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def allow(self, more: int) -> None:
        """Let it allocate `more` bytes from now on, and nothing beyond."""
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            has = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
            _, most = resource.prlimit(self._process.pid, resource.RLIMIT_DATA)
            resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (has + max(more, 0), most))

    def last_words(self) -> str:
        """Return the last line that it wrote."""
        return self._said[-1][:300] if self._said else "it said nothing"

    async def ended(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()

    async def close(self) -> None:
        """End it, at the latest after PATIENCE seconds."""
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

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than anybody wants to read
                continue
            if not line:
                return
            if line.strip():
                self._said.append(line.decode("utf-8", "replace").strip())


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
