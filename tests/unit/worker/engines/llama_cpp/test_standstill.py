"""An engine whose child computes stands still for nobody, however long the first part takes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.engine import LlamaEngine
from daiic.worker.engines.llama_cpp.pool import Pool
from daiic.worker.standstill import Standstill


class Busy:
    """A server that reads a prompt without end."""

    alive = True
    bytes = given_up = begun = 0
    lingering = frozenset()
    processor_seconds = 0.0

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"tokens": [1, 2, 3]}

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        await asyncio.Event().wait()
        yield {}


class Clock:
    """Time that passes when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def reading() -> AsyncIterator[tuple[LlamaEngine, Busy, Clock]]:
    server = Busy()
    engine = LlamaEngine(
        server,  # type: ignore[arg-type]
        {},
        kind=pb.TEXT,
        chats=False,
        quantization="Q8_0",
        placement="ram",
        choice="",
        pool=Pool(tokens=256, context=100, slots=4),
        vocabulary=10,
        adapters=[],
        speculation=None,
        llguidance=False,
        on_guesses=lambda guesses: None,
    )
    clock = Clock()
    engine._standstill = Standstill(clock)
    parts = engine.run(pb.Task(model="m", text=pb.TextTask(prompt="a long one")))
    task = asyncio.ensure_future(anext(parts))
    while not engine._running:
        await asyncio.sleep(0)
    yield engine, server, clock
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_child_that_computes_does_not_stand_still(
    reading: tuple[LlamaEngine, Busy, Clock],
) -> None:
    engine, server, clock = reading
    clock.now += 1000
    server.processor_seconds = 100.0
    assert engine.stalled_for == 0


async def test_a_child_that_does_nothing_stands_still(
    reading: tuple[LlamaEngine, Busy, Clock],
) -> None:
    engine, server, clock = reading
    for _ in range(1000):  # one that waits for others looks now and then at who waits for it
        clock.now += 1
        server.processor_seconds += 0.002
        stalled_for = engine.stalled_for
    assert stalled_for >= 990


def test_a_child_that_was_started_again_counts_from_its_own_beginning() -> None:
    clock = Clock()
    standstill = Standstill(clock)
    clock.now = 10.0
    assert standstill.look(9.0) == 0
    clock.now = 20.0
    assert standstill.look(1.0) == 0
    clock.now = 30.0
    assert standstill.look(2.0) == 0
    clock.now = 40.0
    assert standstill.look(2.0) == 10
