"""Models call tools in the way of their family: whole, valid, and the same wherever they go on.

The models have random weights, so that they do what they must and nothing else.
"""

import asyncio
import contextlib
import json
import random
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text import grammar
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.probe import probe
from integration.worker.test_text import parts, serving, task
from support.models.tiny_models import language_model
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

SAID = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
OFFERED = "{% if tools %}{{ tools | tojson }}{% endif %}"


@dataclass(frozen=True)
class Family:
    """What the template of one shows, and which of its marks are special tokens, or tokens."""

    shows: str
    special: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    begins: str = "<assistant>"


FAMILIES = {
    "hermes": Family("{# <tool_call> #}", added=("<tool_call>", "</tool_call>")),
    "hermes in text": Family("{# <tool_call> #}"),
    "thinks at once": Family(
        "{# <tool_call> </think> #}", added=("<think>", "</think>"), begins="<think>\n"
    ),
    "qwen-coder": Family("{# <tool_call> <function= <parameter= #}", added=("<tool_call>",)),
    "glm": Family("{# <tool_call> <arg_key> #}", added=("<arg_key>", "</arg_key>")),
    "llama": Family('{# start_header_id "parameters": #}', special=("<|python_tag|>",)),
    "mistral": Family(
        "{# [TOOL_CALLS] [ARGS] #}",
        special=("[TOOL_CALLS]", "[ARGS]"),
    ),
    "mistral-list": Family("{# [TOOL_CALLS] [ #}", special=("[TOOL_CALLS]",)),
    "deepseek-v3": Family(
        "{# <｜tool▁calls▁begin｜> ```json #}",
        added=("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"),
    ),
    "deepseek": Family("{# <｜tool▁calls▁begin｜> #}", special=("<｜tool▁sep｜>",)),
    "gemma": Family("{# <|tool_call> #}", special=("<|tool_call>", "<tool_call|>", '<|"|>')),
    "harmony": Family(
        "{# <|start|> <|channel|> <|message|> #}",
        special=("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>"),
        begins="<|start|>assistant",
    ),
    "granite": Family("{# <|tool_call|> #}", special=("<|tool_call|>",)),
    "command": Family("{# <|START_ACTION|> #}", special=("<|START_ACTION|>", "<|END_ACTION|>")),
}

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 6},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
# What a grammar of no JSON can say of a string is only which ones it may be.
PLAIN = {**WEATHER, "properties": {**WEATHER["properties"], "city": {"enum": ["Oslo", "Rome"]}}}
SCHEMAS: dict[str, dict[str, Any]] = {"get_weather": PLAIN, "now": {}}


def tool(name: str, schema: dict[str, Any], **more: Any) -> pb.Tool:
    return pb.Tool(name=name, parameters=json.dumps(schema) if schema else "", **more)


TOOLS = [tool(name, schema) for name, schema in SCHEMAS.items()]
MUST = pb.ToolChoice(mode=pb.ToolChoice.REQUIRED)


def model_of(family: Family, path: Path) -> Path:
    """A model with the template and the tokens of `family`."""
    language_model(path, ends=True, context=1024)
    template = (
        f"{OFFERED}{SAID}{family.shows}{{% if add_generation_prompt %}}{family.begins}{{% endif %}}"
    )
    (path / "chat_template.jinja").write_text(template)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(list(family.special), special_tokens=True)
    tokenizer.add_tokens(list(family.added))
    tokenizer.save_pretrained(path)
    torch.manual_seed(3)
    model = LlamaForCausalLM.from_pretrained(path)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(path)
    return path


@pytest.fixture(params=FAMILIES)
async def engine(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[TextEngine]:
    torch.set_num_threads(1)
    async with serving(model_of(FAMILIES[request.param], tmp_path / "tiny")) as engine:
        yield engine


@pytest.fixture(scope="module")
def hermes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return model_of(FAMILIES["hermes"], tmp_path_factory.mktemp("hermes") / "tiny")


def ask(seed: int = 1, resume: pb.Resume | None = None, **wanted: Any) -> pb.Task:
    asked = {"tools": TOOLS, "temperature": 1.0, "max_tokens": 400, "one_call": True} | wanted
    messages = asked.pop("messages", [pb.ChatMessage(role="user", content="The quick")])
    text = pb.TextTask(messages=messages, seed=seed, **asked)
    return pb.Task(model="tiny", stream=True, text=text, resume=resume)


def calls(answer: list[pb.Result]) -> list[pb.ToolCall]:
    """The calls in the parts of an answer, as a client puts them together."""
    made: list[pb.ToolCall] = []
    for part in answer:
        for piece in part.tool_calls:
            assert piece.index in (len(made) - 1, len(made))
            if piece.index == len(made):
                made.append(pb.ToolCall())
            made[piece.index].id += piece.id
            made[piece.index].name += piece.name
            made[piece.index].arguments += piece.arguments
    return made


def is_valid(call: pb.ToolCall, schemas: dict[str, dict[str, Any]] = SCHEMAS) -> bool:
    jsonschema.validate(json.loads(call.arguments), schemas[call.name])
    return call.id.startswith("call_") or len(call.id) == 9


async def test_a_call_that_is_required_is_whole_and_goes_on_anywhere(engine: TextEngine) -> None:
    assert pb.TOOLS in engine.capabilities
    answers = await asyncio.gather(
        *(parts(engine, ask(seed, tool_choice=MUST)) for seed in range(6))
    )
    for seed, answer in enumerate(answers):
        made = calls(answer)
        if not made:  # it may think for as long as it likes
            assert answer[-1].finish_reason == pb.FINISH_REASON_LENGTH
            assert answer[-1].usage.reasoning_tokens
            continue
        assert answer[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS, answer
        assert len(made) == 1 and is_valid(made[0])
        assert not "".join(part.text for part in answer).strip()
        if seed < 2:
            await goes_on(engine, seed, answer)
    assert any(map(calls, answers))


async def goes_on(engine: TextEngine, seed: int, answer: list[pb.Result]) -> None:
    """See that an answer whose worker dies after any part of it ends as it would have."""
    tokens = [token for part in answer for token in part.tokens]
    whole = (calls(answer), "".join(part.reasoning for part in answer), tokens)
    for seam in range(1, len(answer), max(len(answer) // 6, 1)):
        before = answer[:seam]
        delivered = pb.Resume(
            tokens=[token for part in before for token in part.tokens],
            text="".join(part.text for part in before),
        )
        after = await parts(engine, ask(seed, delivered, tool_choice=MUST))
        both = before + after
        again = (
            calls(both),
            "".join(part.reasoning for part in both),
            [token for part in both for token in part.tokens],
        )
        assert again == whole
        assert after[-1].finish_reason == answer[-1].finish_reason
        assert after[-1].usage.completion_tokens == len(tokens)
        assert after[-1].usage.reasoning_tokens == answer[-1].usage.reasoning_tokens


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    kind = rng.choice(("string", "integer", "boolean", "enum", "array", "object")[: 4 + 2 - depth])
    match kind:
        case "string":
            return {"type": "string", "maxLength": rng.randrange(1, 8)}
        case "integer":
            return {"type": "integer", "minimum": -9, "maximum": rng.randrange(1, 1000)}
        case "enum":
            return {"enum": rng.sample(["red", "grün", 1, None, 2.5, '"', "\\"], 3)}
        case "array":
            items = random_schema(rng, depth + 1)
            return {"type": "array", "items": items, "minItems": 1, "maxItems": 2}
        case "object":
            return random_object(rng, depth + 1)
    return {"type": kind}


def random_object(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    names = rng.sample(["a", "size", "größe", "x y", "_", 'q"'], rng.randrange(1, 3))
    return {
        "type": "object",
        "properties": {name: random_schema(rng, depth) for name in names},
        "required": names[:1],
        "additionalProperties": False,
    }


async def test_a_thousand_of_a_thousand_calls_parse_and_satisfy_their_schemas(
    hermes: Path,
) -> None:
    rng = random.Random(1)
    offers = [{f"tool_{n}": random_object(rng) for n in range(2)} for _ in range(100)]

    async def called(engine: TextEngine, room: asyncio.Semaphore, seed: int) -> bool:
        schemas = offers[seed // 10]  # those that follow each other find their grammar compiled
        tools = [tool(name, schema, strict=True) for name, schema in schemas.items()]
        async with room:
            answer = await parts(engine, ask(seed, tools=tools, tool_choice=MUST))
        made = calls(answer)
        return len(made) == 1 and is_valid(made[0], schemas)

    async with serving(hermes, slots=32) as engine:
        room = asyncio.Semaphore(32)
        good = await asyncio.gather(*(called(engine, room, seed) for seed in range(1000)))
    assert sum(good) == 1000


async def test_what_may_be_called_is_what_the_task_chose(hermes: Path) -> None:
    async with serving(hermes) as engine:
        named = await parts(engine, ask(tool_choice=pb.ToolChoice(name="now")))
        assert [(call.name, json.loads(call.arguments)) for call in calls(named)] == [("now", {})]
        several = await parts(
            engine, ask(2, tool_choice=pb.ToolChoice(name="now"), one_call=False, max_tokens=200)
        )
        assert all(json.loads(call.arguments) == {} for call in calls(several)[:-1])
        assert len({call.id for call in calls(several)}) == len(calls(several))
        for seed in range(3):
            free = await parts(
                engine, ask(seed, tool_choice=pb.ToolChoice(mode=pb.ToolChoice.NONE))
            )
            assert calls(free) == []
        prompt = (await parts(engine, ask(tools=[])))[-1].usage.prompt_tokens
        assert free[-1].usage.prompt_tokens == prompt  # the tools are not shown


async def test_the_same_call_has_the_same_id_wherever_it_is_made_and_another_has_another(
    hermes: Path,
) -> None:
    async with serving(hermes) as engine:
        first, again, other = [
            calls(await parts(engine, ask(seed, tool_choice=MUST)))[0].id for seed in (1, 1, 2)
        ]
    assert first == again != other


async def test_results_of_tools_go_through_the_template(tmp_path: Path) -> None:
    path = model_of(FAMILIES["hermes"], tmp_path / "tiny")
    (path / "chat_template.jinja").write_text(
        "{% if tools %}{% endif %}{# <tool_call> </think> #}"
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.id }}:{{ c.function.name }}"
        ":{{ c.function.arguments.city }};{% endfor %}"
        "{% if m.role == 'tool' %}{{ m.tool_call_id }}:{{ m.name }}:{{ m.content }};{% endif %}"
        "{% if m.reasoning_content %}{{ m.reasoning_content }};{% endif %}{% endfor %}"
        "{% if enable_thinking is defined %}{{ enable_thinking }}{% endif %}"
    )
    history = [
        pb.ChatMessage(role="user", content="x"),
        pb.ChatMessage(
            role="assistant",
            reasoning="hm",
            tool_calls=[pb.ToolCall(id="a1", name="get_weather", arguments='{"city": "Oslo"}')],
        ),
        pb.ChatMessage(role="tool", tool_call_id="a1", content="rain"),
    ]
    async with serving(path) as engine:
        said = "a1:get_weather:Oslo;hm;a1:get_weather:rain;False"
        through = await parts(engine, ask(messages=history, reasoning_effort="none", tools=TOOLS))
        as_it_is = await parts(engine, task(said, seed=1, temperature=1.0, max_tokens=1))
    assert through[-1].usage.prompt_tokens == as_it_is[-1].usage.prompt_tokens


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"tools": [], "tool_choice": MUST}, "there are no tools"),
        ({"tool_choice": pb.ToolChoice(name="other")}, "not among the tools"),
        ({"tools": [pb.Tool(name='a"}')]}, "has the name"),
        ({"tools": [pb.Tool(name="a"), pb.Tool(name="a")]}, "the same name"),
        ({"tools": [pb.Tool(name="a", parameters="{")]}, "not valid JSON"),
        ({"tools": [pb.Tool(name="a", parameters='{"type": "array"}')]}, "no schema of an object"),
        (
            {"tools": [tool("a", {"properties": {"x": {"not": {}}}}, strict=True)]},
            "`a.parameters`",
        ),
        (
            {"constraint": pb.Constraint(grammar='start: "a"')},
            "together with tools",
        ),
        (
            {
                "messages": [
                    pb.ChatMessage(
                        role="assistant", tool_calls=[pb.ToolCall(name="a", arguments="{")]
                    )
                ]
            },
            "no JSON object",
        ),
    ],
)
async def test_what_cannot_be_offered_is_refused_with_the_reason(
    hermes: Path, wanted: dict[str, Any], says: str
) -> None:
    async with serving(hermes) as engine:
        with pytest.raises(TaskError, match=says):
            await parts(engine, ask(**wanted))


async def test_a_schema_that_cannot_be_kept_to_is_only_asked_of_strict_tools(hermes: Path) -> None:
    odd = tool("odd", {"properties": {"x": {"not": {}}}})
    async with serving(hermes) as engine:
        answer = await parts(engine, ask(tools=[odd], tool_choice=MUST, max_tokens=900))
    assert calls(answer)[0].name == "odd"


async def test_many_tools_of_which_one_has_such_a_schema_are_tried_in_a_few_processes(
    hermes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, started = subprocess.run, []

    def counted(*line: Any, **how: Any) -> Any:
        started.append(line)
        return run(*line, **how)

    monkeypatch.setattr(grammar.subprocess, "run", counted)
    odd = tool("odd", {"properties": {"x": {"not": {}}}})
    tools = [odd, *(tool(f"good{n}", {"properties": {}}) for n in range(5))]
    async with serving(hermes) as engine:
        await parts(engine, ask(tools=tools, tool_choice=MUST, max_tokens=5))
    assert 1 <= len(started) <= 3


async def test_reasoning_goes_before_what_an_answer_must_be(tmp_path: Path) -> None:
    path = model_of(FAMILIES["thinks at once"], tmp_path / "tiny")
    assert probe(path, "tiny").reasons  # type: ignore[union-attr]
    async with serving(path) as engine:
        digits = pb.Constraint(regex="[0-9]{3}/[0-9]")
        for seed in range(4):
            answer = await parts(engine, ask(seed, tools=[], constraint=digits, max_tokens=600))
            reasoning = "".join(part.reasoning for part in answer)
            said = "".join(part.text for part in answer)
            last = answer[-1]
            assert last.usage.reasoning_tokens and reasoning
            if last.finish_reason == pb.FINISH_REASON_STOP:
                assert len(said) == 5 and said[3] == "/" and said[:3].isdigit()
            else:
                assert re.fullmatch("[0-9]{0,3}|[0-9]{3}/", said)


async def test_a_call_goes_on_when_its_worker_is_killed_in_the_middle(
    hermes: Path, tmp_path: Path
) -> None:
    text = {"type": "string", "minLength": 200, "maxLength": 220}
    schema = {"properties": {"text": text}, "required": ["text"], "additionalProperties": False}
    letter = tool("write", schema)
    async with HeadProcess() as head, contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                WorkerProcess(
                    heads=head.address,
                    models=["tiny"],
                    models_dir=hermes.parent,
                    state_dir=tmp_path / name,
                    allow_downloads=False,
                    slots=4,
                )
            )
            for name in ("one", "other")
        ]
        client = await stack.enter_async_context(ClusterClient([head.address]))
        async with asyncio.timeout(PATIENCE):
            while await loaded(client) < 2:
                await asyncio.sleep(0.1)
        wanted = ask(5, tools=[letter], tool_choice=MUST, max_tokens=700)
        undisturbed = [part async for part in client.run(wanted)]
        moved: list[pb.Result] = []
        async for part in client.run(wanted):
            moved.append(part)
            if len(moved) == 4:
                await next(one for one in workers if one.worker_id == part.worker_id).kill()
    assert len({part.worker_id for part in moved}) == 2
    assert not any(part.started_over for part in moved)
    assert calls(moved) == calls(undisturbed)
    assert moved[-1].finish_reason == undisturbed[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS


async def loaded(client: ClusterClient) -> int:
    """How many workers hold a model."""
    workers = (await client.status()).workers
    return sum(model.state == pb.LOADED for worker in workers for model in worker.heartbeat.models)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_model_can_do_is_told_from_its_files(tmp_path: Path, family: str) -> None:
    path = model_of(FAMILIES[family], tmp_path / "tiny")
    told = probe(path, "tiny")
    assert told is not None and pb.TOOLS in told.capabilities
