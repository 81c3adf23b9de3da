"""The grammar that holds an answer to its format, in Lark's notation as llguidance reads it.

See github.com/guidance-ai/llguidance, docs/syntax.md. A lazy rule ends where what it ends with is
first complete; special tokens match no text, and are named by their number.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from daiic.worker.engines.text.formats.events import Tool
from daiic.worker.engines.text.formats.format import CallSyntax, Format
from daiic.worker.engines.text.formats.harmony import (
    CHANNEL,
    CONSTRAIN,
    END,
    HARMONY,
    MESSAGE,
    START,
)

_ANY = r"/(.|\n)*/"


class LarkRules:
    """The rules of one grammar."""

    def __init__(self, special: Mapping[str, int], options: Mapping[str, Any]) -> None:
        """`special` are tokens that match no text, `options` llguidance's own of JSON Schemas."""
        self._special = special
        self._options = dict(options)
        self._cut = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
        self._rules: list[str] = []

    def is_special(self, mark: str) -> bool:
        """Return whether `mark` begins with a special token."""
        return bool(self._special) and self._cut.match(mark) is not None

    def literal(self, text: str) -> str:
        """Return what matches `text` to the letter, special tokens in it included."""
        if not self._special:
            return json.dumps(text) if text else ""
        parts, place = [], 0
        for found in self._cut.finditer(text):
            parts += [json.dumps(text[place : found.start()]), f"<[{self._special[found[0]]}]>"]
            place = found.end()
        parts.append(json.dumps(text[place:]))
        return " ".join(part for part in parts if part != '""')

    def json(self, schema: Any) -> str:
        """Return what matches JSON of `schema`."""
        if isinstance(schema, dict):
            schema = {**schema, "x-guidance": self._options}
        return f"%json {json.dumps(schema)}"

    def regex(self, regex: str) -> str:
        """Return what matches `regex`."""
        escaped = re.sub(r"\\.|/|\n", lambda found: _ESCAPES.get(found[0], found[0]), regex)
        return f"/{escaped}/"

    def up_to(self, mark: str) -> str:
        """Return what matches any text and then `mark`."""
        if self.is_special(mark):
            return f"{_ANY} {self.literal(mark)}"
        found = self._cut.search(mark) if self._special else None
        end = mark[: found.start()] if found else mark
        lazy = self.rule(f"{_ANY} {json.dumps(end)}", attributes="[lazy]")
        return f"{lazy} {self.literal(mark[len(end) :])}"

    def rule(self, body: str, attributes: str = "") -> str:
        """Return the name of a new rule."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{attributes}: {body}")
        return name

    def any_of(self, bodies: Iterable[str]) -> str:
        """Return what matches one of `bodies`."""
        return self.rule(" | ".join(body or '""' for body in bodies))

    def grammar(self, start: str) -> str:
        """Return the whole grammar, which begins with `start`."""
        return "\n".join(["%llguidance {}", f"start: {start}", *self._rules])


_ESCAPES = {"/": r"\/", "\n": r"\n"}


def grammar_of(
    form: Format,
    rules: LarkRules,
    tools: Sequence[Tool],
    *,
    must_call: bool,
    prompt: str,
    answer: str,
) -> str:
    """Return the grammar of an answer in `form` that continues `prompt`, by `rules`.

    The `tools` may be called, or must be. `answer` is what matches the answer itself, if it is
    not any text.
    """
    if form is HARMONY:
        return _harmony(rules, tools, must_call=must_call, answer=answer)
    thought = _thought(form, rules, prompt)
    if form.calls is None or not tools:
        return rules.grammar(f"{thought} {answer or _ANY}")
    region = _calls(form.calls, rules, tools)
    joint = rules.literal(form.calls.joint)
    calls = rules.rule(f"{region} ({joint} {region})*" if form.calls.end else region)
    if must_call or answer:
        begun = calls if form.calls.bare else f"{rules.literal(form.calls.begin)} {calls}"
        both = begun if must_call else rules.any_of([begun, answer])
        return rules.grammar(f"{thought} {both}")
    return rules.grammar(f"{thought} {_in_text(form.calls, rules, region)}")


def _in_text(syntax: CallSyntax, rules: LarkRules, region: str) -> str:
    """Return what matches a text with calls in it, or none."""
    if syntax.bare:
        other = rf"/\s*[^\s{re.escape(syntax.bare)}](.|\n)*/"
        return rules.any_of(["", other, region])
    call = rules.rule(f"{rules.up_to(syntax.begin)} {region}")
    return f"{call}* {_ANY}" if syntax.end else f"{_ANY} | {call}"


def _thought(form: Format, rules: LarkRules, prompt: str) -> str:
    if form.reasoning is None:
        return ""
    begin, end = form.reasoning
    thought = f"{rules.up_to(end)} /\\s{{0,4}}/"
    if form.begins_in_reasoning(prompt):
        return thought
    opened = rules.rule(rf"/[ \n]{{0,2}}/ {rules.literal(begin)} {thought}")
    return f"{opened}?"


def _calls(syntax: CallSyntax, rules: LarkRules, tools: Sequence[Tool]) -> str:
    """Return what matches what stands behind the beginning of calls, with their end."""
    end = rules.literal(syntax.end)
    frame = syntax.frame
    if frame is None:
        assert syntax.rules is not None
        call = rules.any_of([syntax.rules(tool, rules) for tool in tools])
        return rules.rule(f"{call} {end}")
    call = rules.any_of(
        f"{rules.literal(frame.before + tool.name + frame.middle)} {rules.json(tool.schema)}"
        for tool in tools
    )
    more = ""
    if frame.between is not None:
        more = f"({rules.literal(frame.after + frame.between)} {call})*"
    elif not syntax.end:
        more = f"({rules.literal(frame.after + syntax.begin + frame.lead)} {call})*"
    last = rules.literal(frame.after + frame.tail + syntax.end)
    return rules.rule(f"{rules.literal(frame.lead)} {call} {more} {last}")


def _harmony(rules: LarkRules, tools: Sequence[Tool], *, must_call: bool, answer: str) -> str:
    before = rules.any_of(
        f"{rules.literal(CHANNEL + channel + MESSAGE)} {_ANY} "
        + rules.literal(END + START + "assistant")
        for channel in (("analysis",) if must_call else ("analysis", "commentary"))
    )
    ways = [
        rules.literal(f"{CHANNEL}commentary to=functions.{tool.name} {CONSTRAIN}json{MESSAGE}")
        + f" {rules.json(tool.schema)}"
        for tool in tools
    ]
    if not must_call:
        ways.append(f"{rules.literal(CHANNEL + 'final' + MESSAGE)} {answer or _ANY}")
    return rules.grammar(f"{before}* {rules.any_of(ways)}")
