"""Arguments that are written as texts, and what they are by a tool's schema."""

from typing import Any

from daiic.worker.engines.text.formats.events import Tool
from daiic.worker.engines.text.formats.loose_json import parsed


def properties_of(tool: Tool) -> dict[str, Any]:
    """Return the schemas of the arguments of `tool`, by name, each with what it refers to."""
    known = tool.schema.get("properties")
    shared = {key: tool.schema[key] for key in ("$defs", "definitions") if key in tool.schema}
    if not isinstance(known, dict):
        return {}
    return {
        key: {**schema, **shared} if isinstance(schema, dict) else {}
        for key, schema in known.items()
    }


def required_of(tool: Tool) -> frozenset[str]:
    """Return which arguments `tool` must have."""
    named = tool.schema.get("required")
    return frozenset(map(str, named)) if isinstance(named, list) else frozenset()


def is_text(schema: Any) -> bool:
    """Return whether a value of `schema` is a string, whatever else it is."""
    if not isinstance(schema, dict):
        return False
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return all(isinstance(choice, str) for choice in choices)
    return schema.get("type") == "string"


def value_of(text: str, schema: Any) -> Any:
    """Return what `text` says by `schema`: JSON, unless that wants a string or it is none."""
    if is_text(schema) or not schema:
        return text
    value = parsed(text)
    return text if value is None and text.strip() != "null" else value
