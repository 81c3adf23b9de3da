"""What models write is told apart into text, reasoning and calls, however it comes divided."""

import itertools
import json
from collections.abc import Iterable

import pytest

from daiic.worker.engines.text.formats import json_families
from daiic.worker.engines.text.formats.events import (
    Arguments,
    CallBegins,
    CallEnds,
    Event,
    Expected,
    Reasoning,
    Text,
    Tool,
)
from daiic.worker.engines.text.formats.families import format_of, takes_tools
from daiic.worker.engines.text.formats.format import Format

WEATHER = Tool(
    "get_weather",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
)
TIME = Tool("get_time", {"type": "object", "properties": {"city": {"type": "string"}}})
TOOLS = {tool.name: tool for tool in (WEATHER, TIME)}
OSLO, ROME = {"city": "Oslo"}, {"city": "Rome"}

TEMPLATES = {
    "hermes": "{% if tools %}<tools>{% endif %}<tool_call> <think></think>",
    "qwen-coder": "{% if tools %}{% endif %}<tool_call>\n<function=x>\n<parameter=y>",
    "glm": "{% if tools %}{% endif %}<tool_call>name\n<arg_key>k</arg_key></think>",
    "llama": '{% if tools %}{% endif %}<|start_header_id|>{"name": n, "parameters": p}',
    "mistral-list": "{% if tools %}{% endif %}[TOOL_CALLS] [",
    "mistral": "{% if tools %}{% endif %}[TOOL_CALLS]name[ARGS] [THINK][/THINK]",
    "deepseek-v3": "<｜tool▁calls▁begin｜>```json </think>",
    "deepseek": "{% if tools %}{% endif %}<｜tool▁calls▁begin｜> </think>",
    "gemma": "{% if tools %}{% endif %}<|tool_call> <|channel>thought\n<channel|>",
    "function-gemma": "{% if tools %}{% endif %}<start_function_call>",
    "tool-code": "{% if tools %}{% endif %}```tool_code",
    "harmony": "{% if tools %}{% endif %}<|start|><|channel|>analysis<|message|>",
    "granite": "{% if tools %}{% endif %}<|tool_call|>",
    "phi": "{% if tools %}{% endif %}<|tool_call|>x<|/tool_call|>",
    "command": "{% if tools %}{% endif %}<|START_ACTION|> <|END_THINKING|>",
}
"""Of each family, what its template is known by."""

# Family, what the model writes, the end of the prompt, then reasoning, text and calls in it.
EXAMPLES: list[tuple[str, str, str, str, str, list[tuple[str, dict[str, object]]]]] = [
    (
        "hermes",
        '<think>\nOslo is in Norway.\n</think>\n\nI will look.\n<tool_call>\n{"name": '
        '"get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n<tool_call>\n{"name": '
        '"get_time", "arguments": {"city": "Rome"}}\n</tool_call>',
        "<|im_start|>assistant\n",
        "Oslo is in Norway.",
        "I will look.",
        [("get_weather", OSLO), ("get_time", ROME)],
    ),
    ("hermes", "so it is\n</think>\n\nHello.", "assistant\n<think>\n", "so it is", "Hello.", []),
    ("hermes", "Hello,\n\n  you there. \n", "assistant\n", "", "Hello,\n\n  you there. \n", []),
    (
        "qwen-coder",
        "Sure.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\nYork\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        "assistant\n",
        "",
        "Sure.",
        [("get_weather", {"city": "New\nYork", "days": 3})],
    ),
    (
        "glm",
        "<think>hm</think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n"
        "<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n"
        "</tool_call>",
        "",
        "hm",
        "",
        [("get_weather", {"city": "Oslo", "days": 2})],
    ),
    (
        "llama",
        '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
        "",
        "",
        "",
        [("get_weather", OSLO)],
    ),
    (
        "llama",
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}; '
        '{"name": "get_time", "parameters": {"city": "Rome"}}',
        "",
        "",
        "",
        [("get_weather", OSLO), ("get_time", ROME)],
    ),
    (
        "llama",
        '<|python_tag|>brave_search.call(query="Oslo")',
        "",
        "",
        '<|python_tag|>brave_search.call(query="Oslo")',
        [],
    ),
    (
        "mistral-list",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "abcdefghi"}, '
        '{"name": "get_time", "arguments": {"city": "Rome"}}]',
        "",
        "",
        "",
        [("get_weather", OSLO), ("get_time", ROME)],
    ),
    (
        "mistral",
        '[THINK]Oslo?[/THINK]Well.[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}'
        '[TOOL_CALLS]get_time[CALL_ID]abcdefghi[ARGS]{"city": "Rome"}',
        "",
        "Oslo?",
        "Well.",
        [("get_weather", OSLO), ("get_time", ROME)],
    ),
    (
        "deepseek-v3",
        "hm\n</think>\nI look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
        'get_weather\n```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>'
        'function<｜tool▁sep｜>get_time\n```json\n{"city": "Rome"}\n```<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>",
        "<｜Assistant｜><think>\n",
        "hm",
        "I look.",
        [("get_weather", OSLO), ("get_time", ROME)],
    ),
    (
        "deepseek",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Oslo"}'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "<｜Assistant｜></think>",
        "",
        "",
        [("get_weather", OSLO)],
    ),
    (
        "gemma",
        "<|channel>thought\nOslo then.<channel|>Wait.<|tool_call>call:get_weather{city:"
        '<|"|>Oslo<|"|>,days:3}<tool_call|>',
        "",
        "Oslo then.",
        "Wait.",
        [("get_weather", {"city": "Oslo", "days": 3})],
    ),
    (
        "function-gemma",
        "<start_function_call>call:get_weather{city:<escape>Oslo, {N}<escape>}<end_function_call>",
        "",
        "",
        "",
        [("get_weather", {"city": "Oslo, {N}"})],
    ),
    (
        "tool-code",
        "```tool_code\nprint(get_weather(city='Oslo', days=3))\n```",
        "",
        "",
        "",
        [("get_weather", {"city": "Oslo", "days": 3})],
    ),
    (
        "harmony",
        "<|channel|>analysis<|message|>They ask of Oslo.<|end|><|start|>assistant<|channel|>"
        "commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.get_weather <|constrain|>json<|message|>{"city":"Oslo"}',
        "<|start|>assistant",
        "They ask of Oslo.",
        "I look.",
        [("get_weather", OSLO)],
    ),
    (
        "harmony",
        "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>"
        "Two.<|end|><|start|>assistant<|channel|>final<|message|>Hello.",
        "<|start|>assistant",
        "One.\n\nTwo.",
        "Hello.",
        [],
    ),
    (
        "harmony",
        ' to=functions.get_time<|channel|>commentary json<|message|>{"city":"Rome"}<|call|>',
        "<|start|>assistant",
        "",
        "",
        [("get_time", ROME)],
    ),
    (
        "granite",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
        "",
        "",
        "",
        [("get_weather", OSLO)],
    ),
    (
        "phi",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>',
        "",
        "",
        "",
        [("get_weather", OSLO)],
    ),
    (
        "command",
        "<|START_THINKING|>I call.<|END_THINKING|><|START_ACTION|>[\n    "
        '{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Oslo"}}\n]'
        "<|END_ACTION|>",
        "",
        "I call.",
        "",
        [("get_weather", OSLO)],
    ),
]


def told(events: Iterable[Event]) -> tuple[str, str, list[tuple[str, str]]]:
    """Reasoning, text and calls in `events`."""
    reasoning = text = ""
    calls: list[tuple[str, str]] = []
    for event in events:
        match event:
            case Reasoning(piece):
                reasoning += piece
            case Text(piece):
                text += piece
            case CallBegins(name):
                calls.append((name, ""))
            case Arguments(piece):
                calls[-1] = (calls[-1][0], calls[-1][1] + piece)
    return reasoning, text, calls


def read(form: Format, pieces: Iterable[str], expected: Expected) -> list[Event]:
    reader = form.read(form, expected)
    events = [event for piece in pieces for event in reader.push(piece)]
    return events + reader.finish()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example[0]}-{example[1][:20]}")
@pytest.mark.parametrize("held", [False, True])
def test_published_examples_are_told_apart_wherever_they_are_cut(example, held):
    family, said, prompt, reasoning, text, calls = example
    form = format_of(TEMPLATES[family])
    exact = not held or _is_exact(family, said)
    expected = Expected(TOOLS, is_held=held and exact, prompt=prompt)
    cuts = [[said], list(said), *([said[:n], said[n:]] for n in range(1, len(said)))]
    cuts += [[said[:a], said[a : a + 3], said[a + 3 :]] for a in range(len(said) - 3)]
    for pieces in cuts:
        found = told(read(form, pieces, expected))
        assert found[:2] == (reasoning, text), pieces
        assert [(name, json.loads(arguments)) for name, arguments in found[2]] == calls, pieces


def _is_exact(family: str, said: str) -> bool:
    """Whether a model that is held to the format could have written it."""
    return "_id" not in said.lower() and '"id"' not in said and "python_tag" not in said


def test_arguments_are_passed_on_as_they_come_to_where_the_model_is_held_to_the_format():
    form = format_of(TEMPLATES["hermes"])
    reader = form.read(form, Expected(TOOLS, is_held=True))
    reader.push('<tool_call>\n{"name": "get_weather", "arguments": ')
    assert reader.push('{"city": "Os') == [Arguments('{"city": "Os')]
    assert reader.push('lo}"}}\n') == [Arguments('lo}"}'), CallEnds()]
    assert reader.push("</tool_call>") == []


@pytest.mark.parametrize("family", TEMPLATES)
def test_no_text_is_lost_or_taken_for_a_call_where_no_tools_are_offered(family):
    form = format_of(TEMPLATES[family])
    call = next(example[1] for example in EXAMPLES if example[0] == family and example[5])
    _, _, calls = told(read(form, call, Expected()))
    assert calls == []


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": \n</tool_call>'),
        ("hermes", '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>'),
        ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}'),
        ("hermes", '<tool_call>\n{"name": "get_weather", "arguments": [1]}\n</tool_call>'),
        ("hermes", "<tool_call>" * 30),
        ("hermes", "<tool_call>" + "[" * 100_000 + "</tool_call>"),
        ("hermes", '<tool_call>{"name": "get_time", "arguments": {"a": NaN}}</tool_call>'),
        ("qwen-coder", "<tool_call>\n<function=get_time>\n<parameter=city>\nOslo</tool_call>"),
        ("glm", "<tool_call>get_time\n<arg_key>city</arg_key>\nOslo</tool_call>"),
        ("llama", '{"name": "get_weather", "parameters": '),
        ("llama", '{"a": 1} is no call'),
        ("mistral", "[TOOL_CALLS]get_weather[ARGS]{"),
        ("mistral", "[TOOL_CALLS]" * 20),
        ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_time<｜tool▁calls▁end｜>"),
        ("gemma", '<|tool_call>call:get_time{city:<|"|>Oslo}<tool_call|>'),
        ("gemma", "<|tool_call>call:get_time" + "{a:" * 5000 + "<tool_call|>"),
        ("tool-code", "```tool_code\n__import__('os').system('true')\n```"),
        ("tool-code", "```tool_code\nget_time(city=open('/etc/passwd'))\n```"),
        ("tool-code", "```tool_code\nget_time(city={1, 2})\n```"),
        ("tool-code", "```tool_code\n" + "-" * 50_000 + "1\n```"),
        ("tool-code", "```tool_code\n" + "(" * 50_000 + "\n```"),
    ],
)
def test_what_is_no_whole_call_of_a_known_tool_is_text_as_it_was_written(family, said):
    form = format_of(TEMPLATES[family])
    for pieces in ([said], [said[n : n + 7] for n in range(0, len(said), 7)]):
        reasoning, text, calls = told(read(form, pieces, Expected(TOOLS)))
        assert (reasoning, text, calls) == ("", said, [])


def test_a_name_that_is_half_a_character_harms_nothing():
    form = format_of(TEMPLATES["hermes"])
    said = '<tool_call>{"name": "get_time", "arguments": {"city": "\\ud800"}}</tool_call>'
    _, _, calls = told(read(form, [said], Expected(TOOLS)))
    assert json.loads(calls[0][1].encode()) == {"city": "\ud800"}


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("family", TEMPLATES)
def test_no_output_whatever_makes_a_reader_fail(family, held):
    """Marks of all families, in every order of three, and half ones."""
    form = format_of(TEMPLATES[family])
    marks = sorted({mark for example in EXAMPLES if example[0] == family for mark in _cut(example)})
    for three in itertools.islice(itertools.product(marks, repeat=3), 200):
        read(form, three, Expected(TOOLS, is_held=held))
        read(form, [one[:-1] for one in three], Expected(TOOLS, is_held=held))


def _cut(example) -> list[str]:
    said = example[1]
    return [said[n : n + 17] for n in range(0, len(said), 17)]


def test_endless_output_takes_no_more_than_its_own_length():
    form = format_of(TEMPLATES["hermes"])
    for said in ("<tool_call>", '"a', " ", "<think>", "</think>", "<"):
        reader = form.read(form, Expected(TOOLS))
        reader.push("<tool_call>\n")
        for _ in range(5_000):
            reader.push(said)
        reader.finish()


def test_templates_that_show_tools_are_known():
    assert takes_tools("{%- if tools %}x{% endif %}")
    assert takes_tools("{% for tool in tools %}x{% endfor %}")
    assert takes_tools("{%- if tools is not none and tools | length > 0 -%}")
    assert not takes_tools("{{ 'You have no tools' }}")
    assert not takes_tools("{% if message.tools %}{% endif %}")
    assert not takes_tools("{% set x = 'tools' %}")
    assert not takes_tools("{%" * 100_000)


def test_every_family_is_told_by_its_template():
    for family, template in TEMPLATES.items():
        assert format_of(template).name == family.removesuffix("-list")
    assert format_of("{% for m in messages %}").name == "plain"
    assert format_of(TEMPLATES["phi"]).calls is json_families.PHI


COHERE = {
    "start_anchor": "<|CHATBOT|>",
    "fields": {
        "content": {"open": "<|RESPONSE|>", "close": "<|END_RESPONSE|>"},
        "thinking": {"open": "<|THINKING|>", "close": "<|END_THINKING|>"},
        "tool_calls": {
            "open": "<|ACTION|>",
            "close": "<|END_ACTION|>",
            "content": "json",
            "transform_each": True,
            "transform": {
                "type": "function",
                "function": {"name": "{tool_name}", "arguments": "{parameters}"},
            },
        },
    },
}


def test_a_format_that_a_tokenizer_describes_is_followed_wherever_it_is_cut():
    form = format_of("{% if tools %}{% endif %}", COHERE)
    assert form.name == "response_template" and "<|END_ACTION|>" in form.marks
    said = (
        "<|THINKING|> I call.<|END_THINKING|><|ACTION|>"
        '[{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}]<|END_ACTION|>'
        "<|RESPONSE|>Done.<|END_RESPONSE|>"
    )
    for n in range(len(said)):
        found = told(read(form, [said[:n], said[n:]], Expected(TOOLS, prompt="<|CHATBOT|>")))
        assert found == ("I call.", "Done.", [("get_weather", '{"city": "Oslo"}')])
    half = told(read(form, ["<|ACTION|>[{", "<|END_ACTION|>", "on"], Expected(TOOLS)))
    assert half == ("", "[{on", [])


@pytest.mark.parametrize(
    "described",
    [
        "x",
        {"fields": {}},
        {"start_anchor": "", "fields": {"content": {}}},
        {"start_anchor": "x", "fields": {"content": {"close_pattern": "(a+)+$"}}},
        {"start_anchor_pattern": "(a+)+$", "fields": {"content": {}}},
        {"start_anchor": "x", "fields": {"content": {"content": "python-call-list"}}},
        {"start_anchor": 3, "fields": {"content": {"open": 4}}},
    ],
)
def test_a_description_that_is_none_or_may_take_for_ever_is_not_used(described):
    assert format_of("{% if tools %}{% endif %}", described).name == "plain"
