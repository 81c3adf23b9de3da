"""A shim, each real head, and a worker of the tests' own, as processes and sockets on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from support.peers.worker_stub import WorkerStub
from support.processes import built
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess
from support.processes.heads import Head


@pytest.fixture(scope="session")
def binary() -> str:
    """Build the shim and the Rust tests; return its path.

    It is the build that checks for overflows; an optimised one would have to be made beside it.
    """
    with built.or_skip("the shim"):
        built.rust("test", "--no-run")
    return str(built.WORKSPACE / "target/debug/dcf-shim")


@pytest.fixture
async def enter() -> AsyncIterator[Callable[..., object]]:
    """Enter contexts that end with the test: `await enter(HeadProcess())`."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack.enter_async_context


@pytest.fixture
async def head(each_head: Head, enter) -> HeadProcess:
    return await enter(HeadProcess())


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., object]]:
    """Start a worker stub at heads, and wait until they know it: `await serve(head, ...)`."""
    stubs: list[WorkerStub] = []

    async def served(*heads: HeadProcess, **options: object) -> WorkerStub:
        stub = await WorkerStub.open([head.address for head in heads], interval=0.3, **options)
        stubs.append(stub)
        for head in heads:
            await head.until_ready()
        return stub

    yield served
    for stub in stubs:
        await stub.close(polite=False)


@pytest.fixture
async def worker(serve, head: HeadProcess) -> WorkerStub:
    """A worker that the head knows."""
    return await serve(head)


@pytest.fixture
def launch(binary: str, enter) -> Callable[..., object]:
    """Start a shim with free ports: `await launch(heads=..., ...)`."""

    async def launched(**settings: object) -> Daemon:
        free = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0"}
        return await enter(Daemon(binary, **(free | settings)))

    return launched


@pytest.fixture
async def shim(launch, head: HeadProcess, worker: WorkerStub) -> Daemon:
    """A shim before the head and its worker."""
    shim = await launch(heads=head.address)
    await shim.until_ready()
    return shim


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], object]:
    async def wait(condition: Callable[[], bool], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    return wait
