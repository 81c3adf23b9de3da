"""Rendering is watched until its thread has ended, whoever waits for it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp import rendering as module
from daiic.worker.engines.llama_cpp.rendering import NotRendered, Rendering

PATH = "/apply-template"
CONVERSATION = pb.Task(text=pb.TextTask(messages=[pb.ChatMessage(role="user", content="a")]))


class Endless:
    """A llama-server whose template never ends; it takes `pace` of processor time at each look."""

    def __init__(self, pace: float) -> None:
        self._pace, self._worked = pace, 0.0

    @property
    def processor_seconds(self) -> float:
        self._worked += self._pace
        return self._worked

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)


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
