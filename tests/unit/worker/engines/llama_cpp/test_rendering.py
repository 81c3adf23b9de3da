"""Rendering is watched until its thread has ended, whoever waits for it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp import rendering as module
from daiic.worker.engines.llama_cpp.rendering import NotRendered, Rendering

PATH = "/apply-template"
CHAT = "/v1/chat/completions"
CONVERSATION = pb.Task(text=pb.TextTask(messages=[pb.ChatMessage(role="user", content="a")]))


class Endless:
    """A llama-server whose template never ends; it takes `pace` of processor time at each look."""

    def __init__(self, pace: float, busy: int = 0) -> None:
        self._pace, self._worked = pace, 0.0
        self._busy = busy
        self.lingering: set[asyncio.Task[None]] = set()
        self.queued = asyncio.Event()
        self.closed = False

    @property
    def processor_seconds(self) -> float:
        self._worked += self._pace
        return self._worked

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def get(self, path: str) -> Mapping[str, Any]:
        return {"items": [{"is_processing": number < self._busy} for number in range(2)]}

    async def stream(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        assert body["return_progress"]
        try:
            await self.queued.wait()
            yield {}
            yield {}
        finally:
            self.closed = True


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "APART", 0.01)


async def test_it_is_watched_although_nobody_waits_any_more() -> None:
    ended = asyncio.Event()
    rendering = Rendering(ended.set)
    asked = asyncio.create_task(rendering.answered(Endless(module.CPU_SECONDS), PATH, {}))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.wait_for(ended.wait(), 30)
    with pytest.raises(module.TaskError, match="refused"):
        rendering.check(CONVERSATION)


async def test_a_slow_machine_is_not_the_templates_fault() -> None:
    ended = asyncio.Event()
    rendering = Rendering(ended.set)
    with pytest.raises(NotRendered) as caught:
        await rendering.answered(Endless(0.0), PATH, {})
    assert caught.value.code == pb.INTERNAL
    assert ended.is_set()
    rendering.check(CONVERSATION)


async def test_an_answer_that_does_not_begin_though_a_slot_is_free_is_not_rendered() -> None:
    ended = asyncio.Event()
    rendering = Rendering(ended.set)
    server = Endless(module.CPU_SECONDS, busy=1)
    with pytest.raises(NotRendered) as caught:
        await anext(rendering.stream(server, CHAT, {}))
    assert caught.value.code == pb.BAD_REQUEST
    assert ended.is_set() and server.closed


async def test_one_that_waits_for_a_slot_is_waited_for() -> None:
    ended = asyncio.Event()
    server = Endless(module.CPU_SECONDS, busy=2)
    first = asyncio.create_task(anext(Rendering(ended.set).stream(server, CHAT, {})))
    await asyncio.sleep(0.3)
    server.queued.set()
    assert await first == {}
    assert not ended.is_set()


async def test_one_that_nobody_waits_for_any_more_is_closed_once_it_is_rendered() -> None:
    ended = asyncio.Event()
    server = Endless(module.CPU_SECONDS, busy=2)
    rendering = Rendering(ended.set)
    asked = asyncio.create_task(anext(rendering.stream(server, CHAT, {})))
    await asyncio.sleep(0)
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked
    assert len(server.lingering) == 1 and not server.closed
    server.queued.set()
    while server.lingering:
        await asyncio.sleep(0)
    assert server.closed and not ended.is_set()


async def test_one_that_nobody_waits_for_any_more_is_watched() -> None:
    ended = asyncio.Event()
    server = Endless(module.CPU_SECONDS)
    rendering = Rendering(ended.set)
    asked = asyncio.create_task(anext(rendering.stream(server, CHAT, {})))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait_for(ended.wait(), 30)
    while server.lingering:
        await asyncio.sleep(0)
    assert server.closed


async def test_nothing_is_left_when_the_model_leaves_memory() -> None:
    server = Endless(module.CPU_SECONDS, busy=2)
    rendering = Rendering(lambda: None)
    asked = asyncio.create_task(anext(rendering.stream(server, CHAT, {})))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait({asked})
    await asyncio.sleep(0)
    rendering.close()
    while server.lingering:
        await asyncio.sleep(0)
    assert server.closed
