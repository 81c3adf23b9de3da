"""Which format a model has, told from its chat template, which is not run for that."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from daiic.worker.engines.text.formats import (
    gemma_families,
    json_families,
    response_template,
    xml_families,
)
from daiic.worker.engines.text.formats.format import CallSyntax, Format
from daiic.worker.engines.text.formats.harmony import CHANNEL, HARMONY, MESSAGE
from daiic.worker.engines.text.formats.reader import MarkedReader

REASONING = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<thought>", "</thought>"),
)
"""The marks around reasoning that templates are looked through for."""

_USES_TOOLS = re.compile(r"\{%[^%]*?(?<![\w.'\"])tools(?![\w'\"])")


def _mistral(template: str) -> CallSyntax:
    if "[ARGS]" in template:
        return json_families.MISTRAL_NAMED
    syntax = json_families.MISTRAL_LIST
    if "[TOOL_CALLS] [" in template and syntax.frame is not None:
        return replace(syntax, frame=replace(syntax.frame, lead=" ["))
    return syntax


_CALLS: tuple[tuple[str, tuple[str, ...], Callable[[str], CallSyntax]], ...] = (
    ("deepseek-v3", ("tool▁calls▁begin", "```json"), lambda _: json_families.DEEPSEEK_V3),
    ("deepseek", ("tool▁calls▁begin",), lambda _: json_families.DEEPSEEK_V31),
    ("gemma", ("<|tool_call>",), lambda _: gemma_families.GEMMA),
    ("function-gemma", ("<start_function_call>",), lambda _: gemma_families.FUNCTION_GEMMA),
    ("mistral", ("[TOOL_CALLS]",), _mistral),
    ("qwen-coder", ("<function=", "<parameter="), lambda _: xml_families.QWEN_CODER),
    ("glm", ("<arg_key>",), lambda _: xml_families.GLM),
    ("hermes", ("<tool_call>",), lambda _: json_families.HERMES),
    ("command", ("<|START_ACTION|>",), lambda _: json_families.COMMAND),
    ("phi", ("<|/tool_call|>",), lambda _: json_families.PHI),
    ("granite", ("<|tool_call|>",), lambda _: json_families.GRANITE),
    ("llama", ("<|python_tag|>",), lambda _: json_families.LLAMA),
    ("llama", ("start_header_id", '"parameters":'), lambda _: json_families.LLAMA),
    ("tool-code", ("```tool_code",), lambda _: gemma_families.TOOL_CODE),
)
"""Families, by what the template of one shows, the most telling first."""


def takes_tools(template: str) -> bool:
    """Return whether a chat template shows tools to the model."""
    return _USES_TOOLS.search(template) is not None


def format_of(template: str, described: Any = None) -> Format:
    """Return the format of a model with this chat template.

    `described` is what its tokenizer carries as `response_template`, which is used where the
    family is not known.
    """
    if CHANNEL in template and MESSAGE in template:
        return HARMONY
    reasoning = next((pair for pair in REASONING if pair[1] in template), None)
    for name, signs, syntax_of in _CALLS:
        if all(sign in template for sign in signs):
            return _marked(name, reasoning, syntax_of(template))
    own = response_template.format_in(described)
    return own if own is not None else _marked("plain", reasoning, None)


def _marked(name: str, reasoning: tuple[str, str] | None, calls: CallSyntax | None) -> Format:
    marks = [
        *(reasoning or ()),
        *((calls.begin, calls.end, *calls.marks) if calls is not None else ()),
    ]
    frame = calls.frame if calls is not None else None
    if frame is not None:
        marks += [frame.before, frame.middle, frame.after]
    return Format(
        name,
        MarkedReader,
        reasoning,
        calls,
        marks=tuple(mark for mark in marks if mark),
        id_length=9 if name == "mistral" else 0,
        can_call=calls is not None,
        can_reason=reasoning is not None,
        can_hold=calls is None or frame is not None or calls.rules is not None,
    )
