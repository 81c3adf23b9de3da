"""Gemma's calls: of objects without quotes, or of Python."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from daiic.worker.engines.text.formats.events import Call, Tool, Tools
from daiic.worker.engines.text.formats.format import CallSyntax, Rules
from daiic.worker.engines.text.formats.loose_json import object_text
from daiic.worker.engines.text.formats.values import is_text, properties_of, required_of

MAX_DEPTH = 32
"""Of values in values."""
MAX_PYTHON = 16 << 10
"""Characters of Python that are parsed."""

_HEAD = re.compile(r"\s*call:([\w.:-]+)(?=\{)")
_KEY = re.compile(r"\s*\"?([^\s:{}\[\],\"]+)\"?\s*:")
_WORD = re.compile(r"\s*([^,}\]]+)")


class _Wrong(ValueError):
    """It is no value."""


class _Values:
    """Reads values whose keys are bare and whose strings stand between two `quote`s."""

    def __init__(self, text: str, place: int, quote: str) -> None:
        self._text = text
        self.place = place
        self._quote = quote

    def value(self, depth: int = 0) -> Any:
        """Return the value that begins here; raise `_Wrong` if there is none."""
        if depth > MAX_DEPTH:
            raise _Wrong
        self._skip_blanks()
        if self._takes("{"):
            return self._object(depth)
        if self._takes("["):
            return self._list(depth)
        if self._takes(self._quote):
            end = self._text.find(self._quote, self.place)
            if end < 0:
                raise _Wrong
            said, self.place = self._text[self.place : end], end + len(self._quote)
            return said
        if self._text.startswith('"', self.place):
            return self._json()
        found = _WORD.match(self._text, self.place)
        if found is None:
            raise _Wrong
        self.place = found.end()
        word = found[1].strip()
        try:
            return json.loads(word)
        except ValueError:
            return word

    def _json(self) -> Any:
        try:
            value, self.place = json.JSONDecoder().raw_decode(self._text, self.place)
        except ValueError:
            raise _Wrong from None
        return value

    def _object(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not self._ends("}", first=not values):
            found = _KEY.match(self._text, self.place)
            if found is None:
                raise _Wrong
            self.place = found.end()
            values[found[1]] = self.value(depth + 1)
        return values

    def _list(self, depth: int) -> list[Any]:
        values: list[Any] = []
        while not self._ends("]", first=not values):
            values.append(self.value(depth + 1))
        return values

    def _ends(self, bracket: str, *, first: bool) -> bool:
        self._skip_blanks()
        if self._takes(bracket):
            return True
        if not first and not self._takes(","):
            raise _Wrong
        if self.place >= len(self._text):
            raise _Wrong
        return False

    def _skip_blanks(self) -> None:
        while self.place < len(self._text) and self._text[self.place].isspace():
            self.place += 1

    def _takes(self, text: str) -> bool:
        if not self._text.startswith(text, self.place):
            return False
        self.place += len(text)
        return True


def _syntax(begin: str, end: str, quote: str) -> CallSyntax:
    def parse(text: str, tools: Tools) -> Sequence[Call]:
        found = _HEAD.match(text)
        if found is None:
            return []
        values = _Values(text, found.end(), quote)
        try:
            arguments = object_text(values.value())
        except _Wrong:
            return []
        if arguments is None or text[values.place :].strip():
            return []
        return [Call(found[1], arguments)]

    def rules(tool: Tool, rules: Rules) -> str:
        inside = _object(properties_of(tool), required_of(tool), rules, quote)
        return f"{rules.literal(f'call:{tool.name}')} {inside}"

    return CallSyntax(begin=begin, end=end, parse=parse, rules=rules, marks=(quote,))


def _object(properties: dict[str, Any], required: frozenset[str], rules: Rules, quote: str) -> str:
    """Return the Lark of an object: required values in their order, then what else there may be."""

    def pair(key: str) -> str:
        value = _value(properties[key], rules, quote)
        return rules.rule(f"{rules.literal(key + ':')} {value}")

    needed = [pair(key) for key in properties if key in required]
    rest = ""
    firsts = []
    for one in reversed([pair(key) for key in properties if key not in required]):
        firsts.append(f"{one} {rest}")
        rest = rules.rule(f'("," {one})? {rest}')
    if needed:
        body = ' "," '.join(needed) + f" {rest}"
    else:
        body = f"({' | '.join(firsts)})?" if firsts else ""
    return f'"{{" {body} "}}"'


def _value(schema: Any, rules: Rules, quote: str) -> str:
    if is_text(schema):
        choices = schema.get("enum")
        if choices:
            return rules.rule(" | ".join(rules.literal(quote + one + quote) for one in choices))
        return f"{rules.literal(quote)} {rules.rule('/[^<]*/')} {rules.literal(quote)}"
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "object" and isinstance(schema.get("properties"), dict):
        nested = Tool("", schema)
        return rules.rule(_object(properties_of(nested), required_of(nested), rules, quote))
    if kind == "array" and isinstance(schema.get("items"), dict):
        item = rules.rule(_value(schema["items"], rules, quote))
        return f'"[" ({item} ("," {item})*)? "]"'
    return rules.json(schema if isinstance(schema, dict) else {})


GEMMA = _syntax("<|tool_call>", "<tool_call|>", '<|"|>')
"""Gemma 4."""

FUNCTION_GEMMA = _syntax("<start_function_call>", "<end_function_call>", "<escape>")


def _python(text: str, tools: Tools) -> Sequence[Call]:
    if len(text) > MAX_PYTHON:
        return []
    try:
        lines = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    calls = [_python_call(line) for line in lines]
    return [call for call in calls if call is not None] if all(calls) else []


def _python_call(line: ast.stmt) -> Call | None:
    """Return the call on a line such as `print(weather(city="Oslo"))`."""
    said = line.value if isinstance(line, ast.Expr) else None
    if isinstance(said, ast.Call) and isinstance(said.func, ast.Name) and said.func.id == "print":
        said = said.args[0] if len(said.args) == 1 else None
    if not isinstance(said, ast.Call) or not isinstance(said.func, ast.Name) or said.args:
        return None
    try:
        values = {str(one.arg): ast.literal_eval(one.value) for one in said.keywords if one.arg}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    arguments = object_text(values) if len(values) == len(said.keywords) else None
    return None if arguments is None else Call(said.func.id, arguments)


TOOL_CODE = CallSyntax(begin="```tool_code", end="```", parse=_python)
"""Gemma 3, where its template shows it."""
