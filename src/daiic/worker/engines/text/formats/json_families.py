"""Families that write calls as JSON between marks."""

import re
from collections.abc import Sequence

from daiic.worker.engines.text.formats.events import Call, Tools
from daiic.worker.engines.text.formats.format import CallSyntax, Frame
from daiic.worker.engines.text.formats.loose_json import calls_in, object_text

HERMES = CallSyntax(
    begin="<tool_call>",
    end="</tool_call>",
    parse=calls_in,
    frame=Frame('{"name": "', '", "arguments": ', "}", lead="\n", tail="\n"),
    joint="\n",
)
"""Nous' Hermes, Qwen 2.5 and 3, SmolLM 3, Granite 4 and many more."""

_LIST = Frame('{"name": "', '", "arguments": ', "}", lead="[", tail="]", between=", ")

GRANITE = CallSyntax(
    begin="<|tool_call|>",
    end="",
    parse=calls_in,
    frame=_LIST,
)
"""Granite 3."""

PHI = CallSyntax(
    begin="<|tool_call|>",
    end="<|/tool_call|>",
    parse=calls_in,
    frame=_LIST,
)
"""Phi 4 mini."""

COMMAND = CallSyntax(
    begin="<|START_ACTION|>",
    end="<|END_ACTION|>",
    parse=calls_in,
    frame=Frame(
        '{"tool_name": "', '", "parameters": ', "}", lead="[\n    ", tail="\n]", between=",\n    "
    ),
)
"""Command R7B and Command A, without the numbers that they give their calls."""


def _llama(text: str, tools: Tools) -> Sequence[Call]:
    parts = re.split(r"\}\s*;\s*\{", text.strip().rstrip(";"))
    if len(parts) == 1:
        return calls_in(text, tools)
    calls = [
        calls_in("{" * (place > 0) + part + "}" * (place < len(parts) - 1), tools)
        for place, part in enumerate(parts)
    ]
    return [call for found in calls for call in found] if all(calls) else []


LLAMA = CallSyntax(
    begin="<|python_tag|>",
    end="",
    parse=_llama,
    frame=Frame('{"name": "', '", "parameters": ', "}", between="; "),
    bare="{",
)
"""Llama 3. Calls of its built-in tools are no JSON, and stay text."""


MISTRAL_LIST = CallSyntax(
    begin="[TOOL_CALLS]",
    end="",
    parse=calls_in,
    frame=_LIST,
)
"""Mistral up to 2024: a list of objects."""

_MISTRAL_CALL = re.compile(r"\s*([\w.:-]+)(?:\[CALL_ID\]\w+)?\[ARGS\](.*)", re.DOTALL)


def _mistral_named(text: str, tools: Tools) -> Sequence[Call]:
    calls = []
    for part in text.split(MISTRAL_LIST.begin):
        found = _MISTRAL_CALL.fullmatch(part)
        arguments = object_text(found[2]) if found else None
        if found is None or arguments is None:
            return []
        calls.append(Call(found[1], arguments))
    return calls


MISTRAL_NAMED = CallSyntax(
    begin="[TOOL_CALLS]",
    end="",
    parse=_mistral_named,
    frame=Frame("", "[ARGS]", ""),
)
"""Mistral since 2025: a name and an object, each behind a mark of its own."""

_DEEPSEEK_CALL = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?([^<\n]+)(?:<｜tool▁sep｜>|\n)"
    r"(?:```json\n)?(.*?)(?:\n```)?",
    re.DOTALL,
)


def _deepseek(text: str, tools: Tools) -> Sequence[Call]:
    *parts, rest = text.split("<｜tool▁call▁end｜>")
    calls = []
    for part in parts:
        found = _DEEPSEEK_CALL.fullmatch(part.strip())
        arguments = object_text(found[2]) if found else None
        if found is None or arguments is None:
            return []
        calls.append(Call(found[1].strip(), arguments))
    return [] if rest.strip() else calls


DEEPSEEK_V3 = CallSyntax(
    begin="<｜tool▁calls▁begin｜>",
    end="<｜tool▁calls▁end｜>",
    parse=_deepseek,
    frame=Frame(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        "\n```json\n",
        "\n```<｜tool▁call▁end｜>",
        between="\n",
    ),
)
"""DeepSeek V3 and R1."""

DEEPSEEK_V31 = CallSyntax(
    begin="<｜tool▁calls▁begin｜>",
    end="<｜tool▁calls▁end｜>",
    parse=_deepseek,
    frame=Frame("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", between=""),
)
"""DeepSeek V3.1."""
