"""A task that waits for room in the cache is late, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp import engine as module
from daiic.worker.engines.llama_cpp.engine import LlamaEngine
from daiic.worker.engines.llama_cpp.pool import Pool


class Server:
    """A server whose answers end when they may; it notes what it was asked."""

    alive = True
    bytes = given_up = begun = 0
    lingering = frozenset()
    processor_seconds = 0.0

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.asked: list[Mapping[str, Any]] = []

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"tokens": [1] * 40, "content": "", "generation_settings": {}}

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        self.asked.append(body)
        yield {"content": "a", "tokens": [1], "tokens_predicted": 1}
        if "json_schema" not in body:
            await self.may_end.wait()
        yield {"stop": True, "stop_type": "limit"}


def engine_of(server: Server) -> LlamaEngine:
    return LlamaEngine(
        server,  # type: ignore[arg-type]
        {},
        kind=pb.TEXT,
        chats=False,
        quantization="Q8_0",
        placement="ram",
        choice="",
        pool=Pool(tokens=256, context=256, slots=4),
        vocabulary=10,
        adapters=[],
        speculation=None,
        llguidance=False,
        on_guesses=lambda guesses: None,
    )


def task(tokens: int, **fields: object) -> pb.Task:
    return pb.Task(model="m", text=pb.TextTask(prompt="some", max_tokens=tokens, **fields))


async def answered(engine: LlamaEngine, asked: pb.Task) -> list[pb.Result]:
    return [part async for part in engine.run(asked)]


async def test_waiting_is_not_taken_for_a_constraint_that_takes_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    engine = engine_of(server)
    first = asyncio.create_task(answered(engine, task(200)))
    while not server.asked:
        await asyncio.sleep(0)
    monkeypatch.setattr(module, "CONSTRAINT_PATIENCE", 1.0)
    asked = task(100, constraint=pb.Constraint(json_schema='{"type": "string"}'))
    second = asyncio.create_task(answered(engine, asked))
    await asyncio.sleep(1.5)
    assert not second.done() and len(server.asked) == 1
    server.may_end.set()
    assert (await second)[-1].final and (await first)[-1].final


async def test_a_task_that_is_cancelled_while_it_waits_lets_the_next_one_pass() -> None:
    server = Server()
    engine = engine_of(server)
    first = asyncio.create_task(answered(engine, task(150)))
    while not server.asked:
        await asyncio.sleep(0)
    large = asyncio.create_task(answered(engine, task(200)))
    small = asyncio.create_task(answered(engine, task(20)))
    await asyncio.sleep(0.05)
    assert len(server.asked) == 1
    large.cancel()
    server.may_end.set()
    assert (await small)[-1].final and (await first)[-1].final
    assert len(server.asked) == 2


async def test_what_was_delivered_takes_room_once() -> None:
    server = Server()
    server.may_end.set()
    engine = engine_of(server)
    moved = task(216)  # with the prompt's 40 tokens, the whole context
    moved.resume.tokens.extend([1] * 200)
    assert (await answered(engine, moved))[-1].final
    assert server.asked[0]["n_predict"] == 16 and len(server.asked[0]["prompt"]) == 240
