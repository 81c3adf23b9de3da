"""Any head, as a process, with workers and clients that a test writes itself.

`DAIIC_HEAD` names the command of the head to test; without it, that is `daiic-head`.
"""

import contextlib
import itertools
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_peer import ScriptedPeer, ScriptedWorker
from support.processes.head_process import HeadProcess

NUMBERS = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what only `daiic-head` promises when another head is tested."""
    if "DAIIC_HEAD" not in os.environ:
        return
    for item in items:
        mark = item.get_closest_marker("only_daiic_head")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=f"only of daiic-head: {mark.args[0]}"))


@pytest.fixture(scope="module")
def head() -> Iterator[HeadProcess]:
    """A head with its defaults, for all tests of a file: each has models of its own."""
    yield from running(HeadProcess())


@pytest.fixture(scope="module")
def hasty_head() -> Iterator[HeadProcess]:
    """A head that takes a worker for lost after a second."""
    yield from running(HeadProcess(worker_timeout=1))


def running(head: HeadProcess) -> Iterator[HeadProcess]:
    """Run `head` while a fixture is needed."""
    head.start()
    head.said(head.listens)
    yield head
    head.signal(signal.SIGKILL)
    head.process.wait()


class Cast:
    """Clients and workers of one test, with a model that no other test uses."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self.model = f"model-{next(NUMBERS)}"

    async def client(self, head: HeadProcess) -> ScriptedPeer:
        """Return a new client."""
        client = await ScriptedPeer.open(head.address)
        self._stack.push_async_callback(client.close)
        return client

    async def socket(self, head: HeadProcess) -> ScriptedWorker:
        """Return a worker that says nothing yet."""
        worker = await ScriptedWorker.open(head.address)
        self._stack.push_async_callback(worker.close)
        return worker

    async def worker(self, head: HeadProcess, **fields: Any) -> ScriptedWorker:
        """Return a new worker that has the model; `fields` are those of its heartbeat."""
        worker = await self.socket(head)
        await worker.register(self.heartbeat(**fields))
        return worker

    def heartbeat(self, **fields: Any) -> pb.Heartbeat:
        """Return what such a worker says."""
        defaults: dict[str, Any] = {
            "worker_id": f"worker-{next(NUMBERS)}",
            "incarnation": secrets.randbits(63),
            "state": pb.READY,
            "slots": 4,
            "models": [pb.ModelStatus(name=self.model, kind=pb.TEXT, state=pb.LOADED)],
        }
        return pb.Heartbeat(**(defaults | fields))

    def task(self, task_id: int = 1, **fields: Any) -> pb.Task:
        """Return a task for the model."""
        defaults: dict[str, Any] = {
            "model": self.model,
            "stream": True,
            "text": pb.TextTask(prompt="count", max_tokens=8),
        }
        return pb.Task(id=task_id, **(defaults | fields))


@pytest.fixture
async def cast() -> AsyncIterator[Cast]:
    """Clients and workers, closed when the test is over."""
    async with contextlib.AsyncExitStack() as stack:
        yield Cast(stack)
