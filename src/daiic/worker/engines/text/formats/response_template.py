"""Formats that a tokenizer describes itself, in transformers' `response_template`.

transformers reads them (huggingface.co/docs/transformers/chat_response_parsing). A template may
have regular expressions, which come with the model and may take for ever: one with them is not
used.
"""

from collections.abc import Mapping
from typing import Any

from transformers.utils.chat_parsing import ResponseParser
from transformers.utils.chat_parsing.response_templates import load_response_template

from daiic.worker.engines.text.formats.events import Event, Expected, Reasoning, Text
from daiic.worker.engines.text.formats.format import Format
from daiic.worker.engines.text.formats.loose_json import call_in

MAX_PROMPT = 4096
"""Characters of the end of a prompt that are looked at for the beginning of the answer."""
_REASONING = ("thinking", "reasoning", "reasoning_content")
_PARSERS = {"text", "json"}
_FIELD_KEYS = ("open", "close")


def format_in(template: Any) -> Format | None:
    """Return the format that `template` describes; None if it is none, or cannot be used."""
    if not isinstance(template, dict) or not _is_literal(template):
        return None
    try:
        load_response_template(template)
    except Exception:  # of a kind for each mistake in it
        return None
    marks = [
        mark
        for field in template["fields"].values()
        for key in _FIELD_KEYS
        for mark in _strings(field.get(key))
    ]
    return Format(
        "response_template",
        lambda form, expected: TemplateReader(template, expected),
        marks=tuple(marks),
        can_call="tool_calls" in template["fields"],
        can_reason=any(name in template["fields"] for name in _REASONING),
    )


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


def _is_literal(template: Mapping[str, Any]) -> bool:
    fields = template.get("fields")
    if not isinstance(fields, dict) or "start_anchor" not in template:
        return False
    return all(
        isinstance(field, dict)
        and not any(key.endswith("_pattern") for key in field)
        and field.get("content", "text") in _PARSERS
        and not field.get("content_args")
        for field in fields.values()
    )


class TemplateReader:
    """A `Reader` around transformers' parser; what that cannot take is text."""

    def __init__(self, template: dict[str, Any], expected: Expected) -> None:
        self._tools = expected.tools
        self._raw: list[str] = []  # of the call that is read
        self._failed = False
        self._starts = True
        self.is_reasoning = False
        self._parser: Any = None
        try:
            self._parser = ResponseParser(template, prefix=expected.prompt[-MAX_PROMPT:])
            self._read([], self._parser.initial_events)
        except Exception:
            self._failed = True

    def push(self, piece: str) -> list[Event]:
        """See `Reader`."""
        if self._failed:
            return [Text(piece)] if piece else []
        events: list[Event] = []
        try:
            self._read(events, self._parser.feed(piece))
        except Exception:  # of a kind for each thing that models do wrong
            self._fail(events)
        return events

    def finish(self) -> list[Event]:
        """See `Reader`."""
        events: list[Event] = []
        if not self._failed:
            try:
                self._read(events, self._parser.finalize()[1])
            except Exception:
                self._fail(events)
        return events

    def _fail(self, events: list[Event]) -> None:
        self._failed = True
        self.is_reasoning = False
        raw = "".join(self._raw)
        if raw:
            events.append(Text(raw))

    def _read(self, events: list[Event], told: list[dict[str, Any]]) -> None:
        for one in told:
            field, kind = one["field"], one["type"]
            if kind == "region_open":
                self._starts = True
                self._raw = []
                self.is_reasoning = field in _REASONING
            elif kind == "region_chunk":
                self._chunk(events, field, one["text"])
            else:
                self.is_reasoning = False
                if field == "tool_calls":
                    self._calls(events, one["value"])

    def _chunk(self, events: list[Event], field: str, text: str) -> None:
        if field == "tool_calls":
            self._raw.append(text)
            return
        if self._starts:
            text = text.lstrip()
        if not text:
            return
        self._starts = False
        if field in _REASONING:
            events.append(Reasoning(text))
        elif field == "content":
            events.append(Text(text))

    def _calls(self, events: list[Event], value: Any) -> None:
        calls = [call_in(one) for one in (value if isinstance(value, list) else [value])]
        known = [call for call in calls if call is not None and call.name in self._tools]
        if known and len(known) == len(calls):
            events.extend(event for call in known for event in call.events())
        else:
            events.append(Text("".join(self._raw)))
        self._raw = []
