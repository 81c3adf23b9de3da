"""What GGUF models can do with llama.cpp: tools, formats, sampling, images, adapters, guesses."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose as backend
from daiic.worker.engines.interface import EngineRestarted, LoadOptions
from daiic.worker.engines.llama_cpp import engine as llama_engine
from daiic.worker.engines.llama_cpp import speculation
from daiic.worker.engines.llama_cpp.load import footprint
from daiic.worker.models.model import Model
from support.llama_cpp.running import answer, resumed, serving, use, whole
from support.models import tiny_gguf

TEMPLATE = (Path(__file__).parents[2] / "support" / "models" / "tools.jinja").read_text()
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "sure": {"type": "boolean"}},
        "required": ["name", "sure"],
        "additionalProperties": False,
    }
)
WEATHER = pb.Tool(
    name="get_weather",
    description="The weather of some days",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        }
    ),
)
BLANKS = (211, 233)
"""A line feed and a space, which JSON may have without end and the tiny model likes."""
CALLS = (
    *("<think>\n", "Let me", " look.\n", "</think>\n\n", "I will ask.", " Just a moment."),
    *("\n<tool_call>\n", '{"name": "', "get_", "weather", '", "argu', 'ments": {"city": "'),
    *("Kö", 'ln", "days": ', "3}", "}\n</tool_call>"),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.chat_model(folder / "chat.gguf")
    tiny_gguf.scripted_model(folder / "calls.gguf", *CALLS, template=TEMPLATE)
    return folder


@pytest.fixture(params=["debian", "wheel"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use(request.param, monkeypatch)
    return request.param


def asks(question: str = "Count to ten", **fields: object) -> pb.Task:
    text = pb.TextTask(
        messages=[pb.ChatMessage(role="user", content=question)],
        **({"temperature": 0, "max_tokens": 48} | fields),
    )
    return pb.Task(model="chat", text=text)


def reasoning(parts: list[pb.Result]) -> str:
    return "".join(part.reasoning for part in parts)


# --------------------------------------------------------------------------- tools


async def test_a_call_comes_whole_and_apart_from_reasoning_and_text(
    program: str, models: Path
) -> None:
    async with serving(models / "calls.gguf") as engine:
        assert {pb.CHAT, pb.TOOLS} <= engine.capabilities
        parts = await answer(engine, asks(tools=[WEATHER]))
    assert reasoning(parts) == "Let me look.\n"
    assert whole(parts) == "I will ask. Just a moment."
    (call,) = parts[-1].tool_calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Köln", "days": 3})
    assert call.id
    assert parts[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS
    assert parts[-1].usage.completion_tokens == len(CALLS) + 1
    assert parts[-1].usage.reasoning_tokens > 0


async def test_an_answer_with_a_call_goes_on_after_every_part(program: str, models: Path) -> None:
    task = asks(tools=[WEATHER])
    async with serving(models / "calls.gguf") as engine:
        parts = await answer(engine, task)
        for number in range(len(parts)):
            rest = await answer(engine, resumed(task, parts[:number]))
            assert reasoning(parts[:number]) + reasoning(rest) == reasoning(parts)
            assert whole(parts[:number]) + whole(rest) == whole(parts)
            (call,) = rest[-1].tool_calls
            assert call.arguments == parts[-1].tool_calls[0].arguments


async def test_what_a_tool_said_is_part_of_the_conversation(program: str, models: Path) -> None:
    task = asks(tools=[WEATHER], max_tokens=1)
    async with serving(models / "calls.gguf") as engine:
        before = (await answer(engine, task))[-1].usage.prompt_tokens
        call = pb.ToolCall(id="1", name="get_weather", arguments='{"city": "Köln", "days": 3}')
        task.text.messages.add(role="assistant", reasoning="Let me", tool_calls=[call])
        task.text.messages.add(role="tool", tool_call_id="1", content="rain")
        after = (await answer(engine, task))[-1].usage.prompt_tokens
    assert after > before + 20


async def test_a_model_whose_template_knows_no_tools_does_not_offer_them(
    program: str, models: Path
) -> None:
    async with serving(models / "chat.gguf") as engine:
        assert pb.TOOLS not in engine.capabilities
        assert pb.SEE not in engine.capabilities
        assert pb.ADAPTERS not in engine.capabilities


async def test_reasoning_can_be_turned_off_where_the_template_allows(
    program: str, models: Path
) -> None:
    async with serving(models / "calls.gguf") as engine:
        with pytest.raises(TaskError) as error:
            await answer(engine, asks(reasoning_effort="high"))
        assert error.value.code == pb.UNSUPPORTED
        on = await answer(engine, asks(max_tokens=1))
        off = await answer(engine, asks(max_tokens=1, reasoning_effort="none"))
        assert off[-1].usage.prompt_tokens > on[-1].usage.prompt_tokens  # an empty thought


# ------------------------------------------------------------------------- formats


@pytest.mark.parametrize("kind", ["messages", "prompt"])
async def test_answers_keep_to_a_schema_also_after_a_move(
    program: str, models: Path, kind: str
) -> None:
    task = asks(
        constraint=pb.Constraint(json_schema=SCHEMA),
        sampling=pb.Sampling(logit_bias=dict.fromkeys(BLANKS, -100.0)),
        max_tokens=120,
    )
    if kind == "prompt":
        task.text.ClearField("messages")
        task.text.prompt = "Once upon a time"
    async with serving(models / "chat.gguf") as engine:
        parts = await answer(engine, task)
        said = json.loads(whole(parts))
        assert set(said) == {"name", "sure"}
        assert isinstance(said["sure"], bool)
        for number in range(0, len(parts), 4):
            rest = await answer(engine, resumed(task, parts[:number]))
            assert not any(part.started_over for part in rest)
            assert whole(parts[:number]) + whole(rest) == whole(parts)


async def test_an_answer_that_another_machine_began_otherwise_starts_over(
    program: str, models: Path
) -> None:
    task = asks(constraint=pb.Constraint(json_schema=SCHEMA), max_tokens=120)
    task.resume.tokens.extend([70, 71, 72])
    task.resume.text = "abc"
    async with serving(models / "chat.gguf") as engine:
        parts = await answer(engine, task)
    assert parts[0].started_over
    assert set(json.loads(whole(parts))) == {"name", "sure"}


@pytest.mark.parametrize(
    "regex", [r"(yes|no) \d{3}", r"^[A-Z]{2}\w/\s?\.$", "ä{2,3}|ö", '"[^"]{1,5}"']
)
async def test_answers_match_a_regular_expression(program: str, models: Path, regex: str) -> None:
    task = asks(constraint=pb.Constraint(regex=regex))
    async with serving(models / "chat.gguf") as engine:
        assert re.fullmatch(regex, whole(await answer(engine, task)))


async def test_a_regular_expression_that_cannot_be_kept_to_is_refused(
    program: str, models: Path
) -> None:
    async with serving(models / "chat.gguf") as engine:
        for regex in ("(a", r"(?=a)a", r"\bfoo", "a{1000000}"):
            with pytest.raises(TaskError) as error:
                await answer(engine, asks(constraint=pb.Constraint(regex=regex)))
            assert error.value.name in ("UNSUPPORTED", "BAD_REQUEST")
        assert whole(await answer(engine, asks())).startswith("one, two")


async def test_a_constraint_that_takes_for_ever_ends_and_disturbs_nobody_after(
    monkeypatch: pytest.MonkeyPatch, models: Path
) -> None:
    use("debian", monkeypatch)
    monkeypatch.setattr(llama_engine, "CONSTRAINT_PATIENCE", 1.0)
    endless = asks(constraint=pb.Constraint(regex="([a-z]{0,12}[a-z]{0,12}){6}"))
    async with serving(models / "chat.gguf") as engine:
        with pytest.raises(TaskError, match="too complex"):
            await answer(engine, endless)
        assert whole(await answer(engine, asks())).startswith("one, two")


async def test_lark_grammars_need_a_build_with_llguidance(program: str, models: Path) -> None:
    grammar = 'start: "yes" num\nnum: /[0-9]{2}/'
    async with serving(models / "chat.gguf") as engine:
        task = asks(constraint=pb.Constraint(grammar=grammar))
        if program == "wheel":
            assert re.fullmatch("yes[0-9]{2}", whole(await answer(engine, task)))
            task.text.constraint.grammar = "start: nope"
        with pytest.raises(TaskError) as error:
            await answer(engine, task)
    assert error.value.name == ("BAD_REQUEST" if program == "wheel" else "UNSUPPORTED")


@pytest.mark.parametrize("schema", ['{"type": "nonsense"}', '{"$ref": "#/nope"}'])
@pytest.mark.parametrize("kind", ["messages", "prompt"])
async def test_a_schema_that_is_none_is_refused_and_never_ignored(
    program: str, models: Path, schema: str, kind: str
) -> None:
    task = asks(constraint=pb.Constraint(json_schema=schema))
    if kind == "prompt":
        task.text.ClearField("messages")
        task.text.prompt = "Once upon a time"
    async with serving(models / "chat.gguf") as engine:
        with pytest.raises(TaskError) as error:
            await answer(engine, task)
    assert error.value.name == "BAD_REQUEST"


# ------------------------------------------------------------------------ sampling


@pytest.mark.parametrize("model", ["chat.gguf", "calls.gguf"])
async def test_log_probabilities_come_with_every_token(
    program: str, models: Path, model: str
) -> None:
    async with serving(models / model) as engine:
        parts = await answer(engine, asks(sampling=pb.Sampling(logprobs=3), max_tokens=5))
    told = [one for part in parts for one in part.logprobs]
    assert [one.token.token for one in told] == [token for part in parts for token in part.tokens]
    assert all(len(one.likeliest) == 3 for one in told)
    assert all(one.token.logprob <= one.likeliest[0].logprob <= 0 for one in told)
    assert b"".join(one.token.bytes for one in told) == (reasoning(parts) + whole(parts)).encode()


async def test_biases_and_penalties_change_what_is_said(program: str, models: Path) -> None:
    async with serving(models / "chat.gguf") as engine:
        plain = await answer(engine, asks(max_tokens=8))
        first = plain[0].tokens[0]
        comma = plain[1].tokens[0]
        biased = await answer(
            engine, asks(sampling=pb.Sampling(logit_bias={first: -100.0}), max_tokens=8)
        )
        assert all(first not in part.tokens for part in biased)
        punished = await answer(
            engine, asks(sampling=pb.Sampling(frequency_penalty=2.0), max_tokens=30)
        )
        repeated = sum(list(part.tokens).count(comma) for part in punished)
        assert repeated < sum(list(p.tokens).count(comma) for p in await answer(engine, asks()))


async def test_the_same_seed_makes_the_same_answer(program: str, models: Path) -> None:
    async with serving(models / "chat.gguf") as engine:
        said = [
            whole(await answer(engine, asks("Hello", temperature=2.0, seed=seed)))
            for seed in (1, 1, 2)
        ]
    assert said[0] == said[1] != said[2]


# -------------------------------------------------------------------------- images


def picture(colour: str) -> pb.ContentPart:
    file = io.BytesIO()
    Image.new("RGB", (64, 40), colour).save(file, "PNG")
    return pb.ContentPart(image=pb.Media(data=file.getvalue(), type="image/png"))


def shows(*parts: pb.ContentPart) -> pb.Task:
    task = asks(max_tokens=12)
    task.text.messages[0].CopyFrom(pb.ChatMessage(role="user", parts=parts))
    return task


async def test_a_model_with_a_projector_beside_it_sees(program: str, tmp_path: Path) -> None:
    path = tiny_gguf.chat_model(tmp_path / "chat.gguf")
    tiny_gguf.projector(tmp_path / "mmproj.gguf")
    async with serving(path) as engine:
        assert pb.SEE in engine.capabilities
        black, white, again = [
            await answer(engine, shows(picture(each))) for each in ("black", "white", "black")
        ]
        assert whole(black) == whole(again) != whole(white)
        hello = pb.ContentPart(text="Hello")
        worded = await answer(engine, shows(hello, picture("black")))
        assert worded[-1].usage.prompt_tokens == black[-1].usage.prompt_tokens + 1
        broken = pb.ContentPart(image=pb.Media(data=picture("black").image.data[:60]))
        with pytest.raises(TaskError):
            await answer(engine, shows(broken))
        assert whole(await answer(engine, asks())).startswith("one, two")


# ------------------------------------------------------------------------ adapters


async def test_adapters_change_only_the_tasks_that_name_them(program: str, tmp_path: Path) -> None:
    path = tiny_gguf.chat_model(tmp_path / "chat.gguf")
    (tmp_path / "chat.adapters").mkdir()
    tiny_gguf.adapter(tmp_path / "chat.adapters" / "odd.gguf")
    task = asks()
    async with serving(path) as engine:
        assert pb.ADAPTERS in engine.capabilities and engine.adapters == ("odd",)
        plain = whole(await answer(engine, task))
        task.adapters.add(name="odd")
        odd = whole(await answer(engine, task))
        task.adapters[0].scale = 0.0
        unchanged = whole(await answer(engine, task))
        task.adapters[0].name = "even"
        with pytest.raises(TaskError, match="it has: odd"):
            await answer(engine, task)
        assert whole(await answer(engine, asks())) == plain == unchanged != odd


# ------------------------------------------------------------------------- guesses


async def test_a_draft_guesses_ahead_and_changes_nothing(program: str, tmp_path: Path) -> None:
    plain = tiny_gguf.chat_model(tmp_path / "plain.gguf")
    path = tiny_gguf.chat_model(tmp_path / "chat.gguf")
    tiny_gguf.draft_model(tmp_path / "chat.draft.gguf")
    async with serving(plain) as one, serving(path) as other:
        assert whole(await answer(one, asks())) == whole(await answer(other, asks()))
        told = other.speculation.told()
    assert 0 < told.accepted < told.drafted


async def test_a_draft_that_a_setting_names_guesses_in_place_of_that_beside_the_model(
    program: str, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    path = tiny_gguf.chat_model(tmp_path / "models" / "chat.gguf")
    beside = tmp_path / "models" / "chat.draft.gguf"
    beside.write_text("no model")
    named = tiny_gguf.draft_model(tmp_path / "elsewhere.gguf")
    model = Model("chat", path, pb.TEXT)
    options = LoadOptions(
        backend("cpu"), slots=2, threads=1, model=model, drafts={"chat": named, "other": beside}
    )
    async with serving(path, options=options) as engine:
        assert whole(await answer(engine, asks()))
        told = engine.speculation.told()
    assert 0 < told.accepted < told.drafted
    beside.unlink()
    alone = footprint(model, replace(options, drafts={}))
    assert footprint(model, options) > alone + named.stat().st_size


@pytest.mark.parametrize("slots", [1, 32])
async def test_a_draft_with_another_tokenizer_is_refused(
    program: str, tmp_path: Path, slots: int
) -> None:
    path = tiny_gguf.chat_model(tmp_path / "chat.gguf")
    named = tiny_gguf.draft_model(tmp_path / "other.gguf")
    assert b"story" in named.read_bytes()
    named.write_bytes(named.read_bytes().replace(b"story", b"stoXy"))
    model = Model("chat", path, pb.TEXT)
    options = LoadOptions(
        backend("cpu"), slots=slots, threads=1, model=model, drafts={"chat": named}
    )
    with pytest.raises(TaskError, match=r"other\.gguf cannot guess ahead .*vocab") as caught:
        async with serving(path, options=options):
            pass
    assert caught.value.code == pb.BAD_REQUEST
    named.unlink()
    with pytest.raises(TaskError, match=r"other\.gguf cannot be read: No such file") as caught:
        async with serving(path, options=options):
            pass
    assert "draft_models" in caught.value.remedy


async def test_guessing_that_does_not_pay_ends_and_running_answers_go_on(
    monkeypatch: pytest.MonkeyPatch, program: str, tmp_path: Path
) -> None:
    path = tiny_gguf.chat_model(tmp_path / "chat.gguf")
    tiny_gguf.draft_model(tmp_path / "chat.draft.gguf", layers=1)
    options = LoadOptions(backend("cpu"), slots=2)
    story = asks("Tell me a story", max_tokens=200)
    async with serving(path, options=options) as engine:
        whole_story = whole(await answer(engine, story))
        assert engine.speculation is not None
        running = engine.run(story)
        parts = [await anext(running)]
        monkeypatch.setattr(speculation, "ENOUGH", 10)
        counting = await answer(engine, asks())
        assert whole(counting).startswith("one, two")
        assert engine.speculation is None
        with pytest.raises(EngineRestarted):
            parts += [part async for part in running]
        parts += await answer(engine, resumed(story, parts))
        assert whole(parts) == whole_story
        (child,) = [c.cmdline() for c in psutil.Process().children() if "--model" in c.cmdline()]
        assert "--spec-type" not in child
    async with serving(path, options=options) as engine:
        assert engine.speculation is None
