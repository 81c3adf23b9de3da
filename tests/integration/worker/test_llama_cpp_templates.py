"""A chat template that ends for some conversations only takes neither the worker nor its tasks."""

import asyncio
from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose as backend
from daiic.worker.engines.interface import Engine, EngineRestarted, LoadOptions
from daiic.worker.engines.llama_cpp import rendering, text_tasks
from daiic.worker.engines.llama_cpp.load import footprint
from daiic.worker.models.model import Model
from support.llama_cpp.running import answer, resumed, serving, use, whole
from support.models import endless_tiny, tiny_gguf

LOOPS = "{% for a in range(100000) %}" * 3 + "{% endfor %}" * 3
TEMPLATE = (
    "{% if messages[0].content == 'loop' %}" + LOOPS + "{% endif %}" + tiny_gguf.CHAT_TEMPLATE
)
SOME = pb.Constraint(regex="(one|two|, )+")


@pytest.fixture(params=["debian", "wheel"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use(request.param, monkeypatch)
    return request.param


def asks(question: str, **fields: object) -> pb.Task:
    messages = [pb.ChatMessage(role="user", content=question)]
    given = {"temperature": 0, "max_tokens": 24} | fields
    return pb.Task(model="chat", text=pb.TextTask(messages=messages, **given))


@pytest.mark.parametrize("through_chat", [False, True])
async def test_a_template_that_does_not_end_costs_its_task_and_no_other(
    monkeypatch: pytest.MonkeyPatch, program: str, tmp_path: Path, through_chat: bool
) -> None:
    path = tiny_gguf.chat_model(tmp_path / "chat.gguf", template=TEMPLATE)
    story = asks("Tell me a story", max_tokens=900)
    endless = asks("loop", **({"constraint": SOME} if through_chat else {}))
    options = LoadOptions(backend("cpu"), slots=4, threads=1)
    async with serving(path, options=options) as engine:
        told = whole(await answer(engine, story))
        monkeypatch.setattr(rendering, "CPU_SECONDS", 0.05)
        running = engine.run(story)
        parts = [await anext(running)]
        monkeypatch.setattr(rendering, "PATIENCE", 1.0)
        with pytest.raises(TaskError, match="template has not ended in 1 s") as caught:
            await answer(engine, endless)
        assert caught.value.code == pb.BAD_REQUEST
        monkeypatch.setattr(rendering, "PATIENCE", 60.0)
        with pytest.raises(EngineRestarted):
            parts += [part async for part in running]
        assert engine.alive
        rest = resumed(story, parts)
        parts += await answer(engine, rest)
        assert whole(parts) == told
        with pytest.raises(TaskError, match="refused for conversations") as caught:
            await answer(engine, asks("Count to ten"))
        assert caught.value.code == pb.BAD_REQUEST
        # A task that goes on gets another chance, and only one.
        monkeypatch.setattr(rendering, "PATIENCE", 1.0)
        with pytest.raises(TaskError, match="template has not ended in 1 s"):
            await answer(engine, resumed(endless, parts[:1]))
        with pytest.raises(TaskError, match="refused for conversations"):
            await answer(engine, rest)
        prompt = pb.TextTask(prompt="Count", max_tokens=4, temperature=0)
        assert whole(await answer(engine, pb.Task(model="chat", text=prompt)))


async def test_one_that_ends_only_the_first_time_is_noticed_the_second_time(
    monkeypatch: pytest.MonkeyPatch, program: str, tmp_path: Path
) -> None:
    path = tiny_gguf.chat_model(tmp_path / "chat.gguf", template=TEMPLATE)

    async def ended(*asked: object) -> int:
        return 10

    async with serving(path, options=LoadOptions(backend("cpu"), slots=4, threads=1)) as engine:
        before = engine._held.server
        monkeypatch.setattr(text_tasks, "tokens_of", ended)
        monkeypatch.setattr(rendering, "CPU_SECONDS", 0.05)
        monkeypatch.setattr(rendering, "PATIENCE", 1.0)
        with pytest.raises(TaskError, match="template has not ended in 1 s"):
            await answer(engine, asks("loop", constraint=SOME))
        prompt = pb.TextTask(prompt="Count", max_tokens=4, temperature=0)
        assert whole(await answer(engine, pb.Task(model="chat", text=prompt)))
        assert engine._held.server is not before


async def carried(engine: Engine, task: pb.Task) -> list[pb.Result]:
    """Return the answer to `task`, which goes on where it was when the engine starts again."""
    parts: list[pb.Result] = []
    while True:
        try:
            async for part in engine.run(resumed(task, parts) if parts else task):
                parts.append(part)
        except EngineRestarted:
            continue
        return parts


async def test_those_that_wait_for_room_and_those_that_have_it_are_all_answered(
    monkeypatch: pytest.MonkeyPatch, program: str, tmp_path: Path
) -> None:
    path = tmp_path / "endless.gguf"
    endless_tiny.write(tmp_path / "endless", path, TEMPLATE)
    options = LoadOptions(backend("cpu"), slots=4, threads=1)
    room = footprint(Model("m", path, pb.TEXT), options)
    tasks = [
        pb.Task(model="m", text=pb.TextTask(prompt=f"{n} cats", max_tokens=600, temperature=0))
        for n in range(4)
    ]
    async with serving(path, options=options, room=room) as engine:
        before = engine._held.server
        answers = [asyncio.create_task(carried(engine, task)) for task in tasks]
        while not before.begun:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(rendering, "CPU_SECONDS", 0.05)
        monkeypatch.setattr(rendering, "PATIENCE", 0.3)
        with pytest.raises(TaskError, match="template has not ended"):
            await answer(engine, asks("loop"))
        assert not all(answered.done() for answered in answers)
        assert [parts[-1].usage.completion_tokens for parts in await asyncio.gather(*answers)] == (
            [600] * len(tasks)
        )
        assert engine._held.server is not before
