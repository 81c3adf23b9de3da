"""Any head, as a process, with workers and clients that a test writes itself.

`DAIIC_HEAD` names the command of the head to test; without it, that is `daiic-head`.
"""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from support.peers.cast import Cast
from support.processes.head_process import HeadProcess


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


@pytest.fixture
async def cast() -> AsyncIterator[Cast]:
    """Clients and workers, closed when the test is over."""
    async with contextlib.AsyncExitStack() as stack:
        yield Cast(stack)
