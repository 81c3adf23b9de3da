"""A chat template that ends for some conversations only takes neither the worker nor its tasks."""

from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineRestarted
from daiic.worker.engines.llama_cpp import rendering
from support.llama_cpp.running import answer, resumed, serving, use, whole
from support.models import tiny_gguf

OWN = (tiny_gguf.TINY_CHAT / "chat_template.jinja").read_text()
LOOPS = "{% for a in range(100000) %}" * 3 + "{% endfor %}" * 3
TEMPLATE = "{% if messages[0].content == 'loop' %}" + LOOPS + "{% endif %}" + OWN
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
    async with serving(path) as engine:
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
