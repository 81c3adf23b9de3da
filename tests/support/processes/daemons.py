"""Daemons as processes, found by what they log about where they listen."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from daiic.cli.tether import tethered

Address = tuple[str, int]


class Daemon:
    """One process; `settings` are given to it as flags."""

    def __init__(self, program: str, settings: Mapping[str, object]) -> None:
        beside = Path(sys.executable).parent / program
        self._program = str(beside) if beside.exists() else shutil.which(program) or program
        self._settings = dict(settings)
        self.log = ""
        self.environment: dict[str, str] = {}

    async def start(self) -> None:
        """Start and wait until it listens."""
        flags = [
            part
            for key, value in self._settings.items()
            for part in (f"--{key.replace('_', '-')}", _text(value))
        ]
        inherited = {k: v for k, v in os.environ.items() if k not in ("JOURNAL_STREAM",)}
        self.process = await asyncio.create_subprocess_exec(
            *tethered(self._program, *flags),
            stderr=asyncio.subprocess.PIPE,
            env=inherited | {"NO_COLOR": "1"} | self.environment,
        )
        self._listens = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        done = asyncio.create_task(self._listens.wait())
        await asyncio.wait({done, self._reading}, timeout=20, return_when="FIRST_COMPLETED")
        done.cancel()
        assert self._listens.is_set(), self.log

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log += re.sub(r"\x1b\[[0-9;]*m", "", line.decode())
            if re.search(r"\blisten=\S+", self.log):
                self._listens.set()

    @property
    def address(self) -> str:
        """Where it takes datagrams."""
        found = re.search(r"\blisten=(\S+)", self.log)
        return found[1] if found else str(self._settings["listen"])

    @property
    def udp(self) -> Address:
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def keep_address(self) -> None:
        """Let the next start use the same address."""
        self._settings["listen"] = self.address
        self.log = ""

    @property
    def _http(self) -> str:
        found = re.search(r"http_port=(\d+)|http_listen=\"?([^\"\s]+)", self.log)
        assert found, self.log
        return f"http://{found[2] or '127.0.0.1:' + found[1]}"

    async def get(self, path: str, host: str = "localhost") -> tuple[int, str]:
        """Return status and body of a page of its status port, asked for as `host`."""
        request = urllib.request.Request(self._http + path, headers={"Host": host})

        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)

    async def metric(self, name: str) -> float:
        """Return the value of one metric, labels and all."""
        _, text = await self.get("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])

    async def until_ready(self) -> None:
        async with asyncio.timeout(15):
            while (await self.get("/readyz"))[0] != 200:
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_status(self, seconds: float = 15) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)
