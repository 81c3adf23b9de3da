"""HydraMesh as a process, with workers and clients that a test writes itself."""

import contextlib
import ctypes
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from support.peers.cast import Cast
from support.processes import built, heads
from support.processes.heads import Head
from support.processes.lisp_codec import LispCodec


@pytest.fixture(scope="session")
def hydramesh() -> Head:
    """The head that all tests here are of."""
    with built.or_skip("hydramesh"):
        return heads.hydramesh()


@pytest.fixture(params=["sqlite", "streamdb"])
def storage(request: pytest.FixtureRequest) -> str:
    """What the head keeps figures in; StreamDB only where its library is."""
    if request.param == "streamdb":
        try:
            ctypes.CDLL(os.environ.get("HYDRAMESH_LIBSTREAMDB", "libstreamdb.so"))
        except OSError as error:
            pytest.skip(f"StreamDB's library is not here; HYDRAMESH_LIBSTREAMDB names it: {error}")
    return str(request.param)


@pytest.fixture
async def cast() -> AsyncIterator[Cast]:
    """Clients and workers, closed when the test is over."""
    async with contextlib.AsyncExitStack() as stack:
        yield Cast(stack)


@pytest.fixture(scope="session")
def codec() -> Iterator[LispCodec]:
    """HydraMesh's codec of messages."""
    with built.or_skip("hydramesh"):
        codec = LispCodec()
    with contextlib.closing(codec):
        yield codec
