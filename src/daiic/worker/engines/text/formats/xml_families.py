"""Families that write each argument between tags of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daiic.worker.engines.text.formats.events import Call, Tool, Tools
from daiic.worker.engines.text.formats.format import CallSyntax, Rules
from daiic.worker.engines.text.formats.loose_json import object_text
from daiic.worker.engines.text.formats.values import (
    is_text,
    properties_of,
    required_of,
    value_of,
)

_NAME = re.compile(r"\s*([\w.:-]+)\s*")


@dataclass(frozen=True, slots=True)
class Tags:
    """What stands around a name and around the keys and values of arguments, to the letter."""

    before: str
    middle: str
    before_key: str
    after_key: str
    after_value: str
    after: str

    def parse(self, text: str, tools: Tools) -> Sequence[Call]:
        """Return the call in `text`, whatever blanks are about its tags."""
        text = text.strip().removesuffix(self.after.strip()).rstrip() + "\n"
        if not text.startswith(self.before.strip()):
            return []
        found = _NAME.match(text, len(self.before.strip()))
        if found is None or found[1] not in tools:
            return []
        rest = text[found.end() :].removeprefix(self.middle.strip())
        schemas = properties_of(tools[found[1]])
        values: dict[str, Any] = {}
        while rest := rest.lstrip():
            head, opened, rest = rest.partition(self.after_key.rstrip("\n"))
            value, closed, rest = rest.partition(self.after_value.strip())
            key = head.removeprefix(self.before_key.strip()).strip()
            if not (opened and closed and head.startswith(self.before_key.strip())):
                return []
            value = value.removeprefix("\n").removesuffix("\n")
            values[key] = value_of(value, schemas.get(key))
        arguments = object_text(values)
        return [] if arguments is None else [Call(found[1], arguments)]

    def rules(self, tool: Tool, rules: Rules) -> str:
        """Return the Lark of a call of `tool`."""
        parts = [rules.literal(self.before + tool.name + self.middle)]
        required = required_of(tool)
        for key, schema in properties_of(tool).items():
            head = rules.literal(self.before_key + key + self.after_key)
            part = rules.rule(f"{head} {self._value(schema, rules)}")
            parts.append(part if key in required else f"{part}?")
        return " ".join([*parts, rules.literal(self.after)])

    def _value(self, schema: dict[str, Any], rules: Rules) -> str:
        end = rules.literal(self.after_value)
        if not is_text(schema):
            return f"{rules.json(schema)} {end}"
        choices = schema.get("enum")
        if choices:
            return f"{rules.rule(' | '.join(map(rules.literal, choices)))} {end}"
        return rules.up_to(self.after_value)


def _syntax(tags: Tags, marks: tuple[str, ...] = ()) -> CallSyntax:
    return CallSyntax(
        begin="<tool_call>",
        end="</tool_call>",
        parse=tags.parse,
        rules=tags.rules,
        joint="\n",
        marks=marks,
    )


QWEN_CODER = _syntax(
    Tags(
        before="\n<function=",
        middle=">\n",
        before_key="<parameter=",
        after_key=">\n",
        after_value="\n</parameter>\n",
        after="</function>\n",
    )
)
"""Qwen 3 Coder."""

GLM = _syntax(
    Tags(
        before="",
        middle="\n",
        before_key="<arg_key>",
        after_key="</arg_key>\n<arg_value>",
        after_value="</arg_value>\n",
        after="",
    ),
    marks=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
)
"""GLM 4.5 and later."""
