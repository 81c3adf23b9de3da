"""A real `daiic-gateway` in a process of its own, for tests and benches."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from daiic.cli.tether import tethered

ADDRESS = re.compile(r"serving\s+address=(http://\S+?)/\s*$")


@dataclass
class RunningGateway:
    """`log` collects what it writes to stderr."""

    url: str
    process: asyncio.subprocess.Process
    log: list[str]

    @property
    def host_port(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = re.fullmatch(r"http://(.+):(\d+)", self.url).groups()
        return host, int(port)

    @property
    def rss(self) -> int:
        """The resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) << 10

    async def ready(self) -> None:
        """Wait until a head answers it."""
        async with self.http as http, asyncio.timeout(10):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)

    @property
    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=20)

    async def snapshots(self) -> AsyncGenerator[dict[str, Any], None]:
        """What the page sees, once a second."""
        async with self.http as http, http.stream("GET", "/api/cluster") as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def gateway_process(*flags: str) -> AsyncIterator[RunningGateway]:
    """Start `daiic-gateway` on a free port; it must have ended well when the test is over."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAIIC_")}
    process = await asyncio.create_subprocess_exec(
        *tethered(
            *(sys.executable, "-m", "daiic.gateway.daemon"),
            *("--listen=127.0.0.1:0", "--http-listen="),
            *flags,
        ),
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    log: list[str] = []
    assert process.stderr is not None

    async def next_line() -> str:
        line = (await process.stderr.readline()).decode()
        log.append(line)
        return line

    async def read_on() -> None:
        while await next_line():
            pass

    async with asyncio.timeout(20):
        while (found := ADDRESS.search(line := await next_line())) is None:
            assert line, "".join(log)
    reading = asyncio.create_task(read_on())
    try:
        yield RunningGateway(found[1], process, log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                status = await process.wait()
        except TimeoutError:
            process.kill()
            raise
        await reading
    assert status == 0, "".join(log)
