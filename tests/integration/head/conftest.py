"""Any head, as a process, with workers and clients that a test writes itself.

Each test runs with every head of this project; `DAIIC_HEAD` names the command of another one, which
is then tested alone.
"""

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from support.peers.cast import Cast
from support.processes.head_process import HeadProcess
from support.processes.heads import Head


@pytest.fixture(scope="module", autouse=True)
def _each_head(each_head: Head) -> None:
    """All tests here are of any head."""


@pytest.fixture(scope="module")
def head(each_head: Head) -> Iterator[HeadProcess]:
    """A head with its defaults, for all tests of a file: each has models of its own."""
    yield from running(HeadProcess(kind=each_head))


@pytest.fixture(scope="module")
def hasty_head(each_head: Head) -> Iterator[HeadProcess]:
    """A head that takes a worker for lost after a second."""
    yield from running(HeadProcess(kind=each_head, worker_timeout=1))


def running(head: HeadProcess) -> Iterator[HeadProcess]:
    """Run `head` while a fixture is needed."""
    head.start()
    head.said(head.listens)
    yield head
    head.signal(signal.SIGKILL)
    head.process.wait()


@pytest.fixture
async def cast() -> AsyncIterator[Cast]:
    """Clients and workers, closed when the test is over."""
    async with contextlib.AsyncExitStack() as stack:
        yield Cast(stack)
