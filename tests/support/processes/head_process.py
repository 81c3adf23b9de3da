"""A real `daiic-head` in a process of its own, for tests and benches."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from daiic.cli.tether import tethered
from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb

PATIENCE = 20.0


class HeadProcess:
    """Runs from entry to exit of the context; `log` collects what it writes to stderr."""

    def __init__(
        self,
        listen: str = "127.0.0.1:0",
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        """`settings` are those of `daiic-head`; `environment` is added to this process's."""
        self._environment = {**os.environ, **(environment or {})}
        self._listen = listen
        self._settings = {"http_listen": "127.0.0.1:0", **settings}
        self.log: list[str] = []
        self.address = listen
        self.http_port = 0
        self.started_in = 0.0
        self._logged = asyncio.Event()
        self._process: asyncio.subprocess.Process
        self._reader: asyncio.Task[None]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in self._settings.items()]
        began = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            *tethered(
                Path(sys.executable).with_name("daiic-head"), f"--listen={self._listen}", *flags
            ),
            env=self._environment,
            stderr=asyncio.subprocess.PIPE,
        )
        serving = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(serving))
        line = await asyncio.wait_for(serving, PATIENCE)
        self.started_in = time.perf_counter() - began
        found = dict(re.findall(r"(\w+)=(\S+)", line))
        self.address = found["listen"]
        self.http_port = int(found["http_port"]) if found["http_port"] != "none" else 0
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.signal(signal.SIGKILL)
        await self.wait()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        status = await self._process.wait()
        await self._reader
        return status

    async def wait_for_workers(self, count: int) -> pb.ClusterStatus:
        """Wait until exactly `count` workers are registered; return the status that says so."""
        async with ClusterClient([self.address]) as client, asyncio.timeout(PATIENCE):
            while True:
                status = await client.status()
                if len(status.workers) == count:
                    return status
                await asyncio.sleep(0.02)

    async def wait_for_log(self, text: str) -> None:
        """Wait until a line with `text` has been logged."""
        async with asyncio.timeout(PATIENCE):
            while not any(text in line for line in self.log):
                self._logged.clear()
                await self._logged.wait()

    def cpu_seconds(self) -> float:
        """Return the processor time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self, *, peak: bool = False) -> int:
        """Return the resident memory in bytes, now or at its highest."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) << 10

    async def _read(self, serving: asyncio.Future[str]) -> None:
        stream = self._process.stderr
        assert stream is not None
        async for raw in stream:
            line = raw.decode().rstrip()
            self.log.append(line)
            self._logged.set()
            if "serving" in line and not serving.done():
                serving.set_result(line)
        if not serving.done():
            serving.set_exception(RuntimeError("the head did not start:\n" + "\n".join(self.log)))
