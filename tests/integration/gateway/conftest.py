"""A gateway before a head that the test scripts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daiic.gateway.http.api_keys import KeyFile
from support.peers.scripted_head import ScriptedHead, echo
from support.processes.gateway_process import RunningGateway, gateway_process


@pytest.fixture
async def head() -> AsyncIterator[ScriptedHead]:
    async with ScriptedHead(echo) as head:
        yield head


StartGateway = Callable[..., Awaitable[RunningGateway]]


@pytest.fixture
async def start_gateway(head: ScriptedHead) -> AsyncIterator[StartGateway]:
    """Start gateways with the flags a test wants, and wait until they are ready."""
    async with AsyncExitStack() as stack:

        async def start(*flags: str) -> RunningGateway:
            running = await stack.enter_async_context(
                gateway_process(f"--heads={head.address}", *flags)
            )
            await running.ready()
            return running

        yield start


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> RunningGateway:
    return await start_gateway()


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")
