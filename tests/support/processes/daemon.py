"""A program in a process of its own, as tests and benches start, watch and end it."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from daiic.tether import tethered

PATIENCE = 90.0
"""Seconds for what takes a fraction of that on an idle machine."""
LOOK = 0.01
"""Seconds between two looks at a log or a process."""


class Daemon:
    """One process. It ends with these tests, however they end.

    In `async with` it listens from entry on and is killed at exit. Without a loop, `start` it
    and `stop` it.
    """

    listens = r"\blisten=(\S+)"
    """What it logs once it listens; the group is the address."""

    def __init__(
        self,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        without: Collection[str] = (),
        **settings: object,
    ) -> None:
        """`command` is the program and its first arguments; `settings` become flags.

        A program without a folder is looked for beside this Python, then in PATH. What this
        process has in its environment for DAIIC, Hugging Face and the journal is left out, and the
        variables `without`; `environment` is added.
        """
        self.settings = settings
        self._command = command
        self._environment = {
            **{
                k: v
                for k, v in os.environ.items()
                if not k.startswith(("DAIIC_", "HF_")) and k not in {"JOURNAL_STREAM", *without}
            },
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }

    def start(self) -> None:
        """Start it, and do not wait."""
        program, *arguments = self._command
        beside = Path(sys.executable).parent / program
        flags = [f"--{key.replace('_', '-')}={_flag(v)}" for key, v in self.settings.items()]
        self._log = tempfile.NamedTemporaryFile("a+b", prefix="daiic-")  # noqa: SIM115
        self.process = self._begin(
            [str(beside if beside.exists() else program), *map(str, arguments), *flags]
        )

    def _begin(self, command: list[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            tethered(*command),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
        )

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.says(self.listens)
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.kill()

    async def restart(self) -> None:
        """Start it once more, where it listened before; it must have ended."""
        self.settings = {**self.settings, "listen": self.address}
        await self.__aenter__()

    # What it says.

    @property
    def log(self) -> str:
        """All that it wrote to stdout and stderr."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def said(self, pattern: str, patience: float = PATIENCE) -> str:
        """Block until a line of the log matches; return the first group, or the match.

        Raises:
            AssertionError: with the log, if it ends or `patience` is over before.
        """
        end = time.monotonic() + patience
        while (found := self._found(pattern, end)) is None:
            time.sleep(LOOK)
        return found

    async def says(self, pattern: str, patience: float = PATIENCE) -> str:
        """Do as `said`, but let the loop run."""
        end = time.monotonic() + patience
        while (found := self._found(pattern, end)) is None:
            await asyncio.sleep(LOOK)
        return found

    def _found(self, pattern: str, end: float) -> str | None:
        over = self.process.poll() is not None or time.monotonic() > end
        log = self.log
        if found := re.search(pattern, log[: log.rfind("\n") + 1]):
            return found[found.re.groups and 1]
        if over:
            raise AssertionError(f"no {pattern!r} in the log:\n{log}")
        return None

    # Where it listens.

    @property
    def address(self) -> str:
        """Where it listens; waits until it does."""
        return self.said(self.listens)

    @property
    def host_port(self) -> tuple[str, int]:
        """Where it listens, as a socket takes it."""
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    @property
    def status_port(self) -> int:
        """The TCP port of /healthz and the like."""
        port = re.search(r"\bhttp_(?:port|listen)=\"?(?:\S+:)?(\d+)", self.log)
        assert port, self.log
        return int(port[1])

    async def get(self, path: str, host: str = "localhost") -> tuple[int, str]:
        """Return status and body of a page of its status port, asked for as `host`."""
        url = f"http://127.0.0.1:{self.status_port}{path}"
        request = urllib.request.Request(url, headers={"Host": host})

        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)

    async def metric(self, name: str) -> float:
        """Return the value of one metric, named with its labels."""
        _, text = await self.get("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])

    async def until_ready(self) -> None:
        """Wait until its status port says that it is ready."""
        async with asyncio.timeout(PATIENCE):
            while (await self.get("/readyz"))[0] != 200:
                await asyncio.sleep(LOOK)

    # What it costs.

    @property
    def pid(self) -> int:
        return self.process.pid

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

    # How it ends.

    @property
    def exit_status(self) -> int | None:
        """The exit status, if it has ended; minus the signal's number if one ended it."""
        return self.process.poll()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def ended(self, patience: float = PATIENCE) -> int:
        """Wait until it has ended; return its exit status."""
        async with asyncio.timeout(patience):
            while (status := self.exit_status) is None:
                await asyncio.sleep(LOOK)
        return status

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def stop(self, patience: float = 20) -> int:
        """Ask it to end, block until it has, and return its exit status; kill it if need be."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _flag(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)
