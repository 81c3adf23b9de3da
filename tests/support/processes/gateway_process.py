"""A real `daiic-gateway` in a process of its own, for tests and benches."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai

from support.processes.daemon import PATIENCE, Daemon


class RunningGateway(Daemon):
    """A gateway, and the clients of it."""

    listens = r"serving\s+address=http://(\S+?)/\s*\n"

    def __init__(self, *command: str, **settings: object) -> None:
        super().__init__(*command, **settings)
        self._clients: list[openai.AsyncOpenAI] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def ready(self) -> None:
        """Wait until a head answers it."""
        async with self.http as http, asyncio.timeout(PATIENCE):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)

    @property
    def openai(self) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)
        self._clients.append(client)
        return client

    @property
    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=20)

    async def close_clients(self) -> None:
        """Close what `openai` gave, which would else try to when its event loop is gone."""
        for client in self._clients:
            await client.close()

    async def snapshots(self) -> AsyncGenerator[dict[str, Any], None]:
        """What the page sees, once a second."""
        async with self.http as http, http.stream("GET", "/api/cluster") as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def gateway_process(*flags: str) -> AsyncIterator[RunningGateway]:
    """Start `daiic-gateway` on a free port; it must have ended well when the test is over."""
    gateway = RunningGateway(
        "daiic-gateway", "--listen=127.0.0.1:0", "--http-listen=", "--state-dir=", *flags
    )
    async with gateway:
        try:
            yield gateway
        finally:
            gateway.signal(signal.SIGTERM)
            status = await gateway.ended(10)
            await gateway.close_clients()
        assert status == 0, gateway.log
