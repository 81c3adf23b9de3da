"""The calls of tools in a whole answer, put together from their parts."""

from collections.abc import Iterable
from typing import Any

import msgspec

from daiic.wire import daiic_pb2 as pb


def whole_calls(parts: Iterable[pb.ToolCallPart]) -> list[pb.ToolCall]:
    """Return the calls that `parts` make up, in the order in which they began."""
    calls: dict[int, pb.ToolCall] = {}
    arguments: dict[int, list[str]] = {}
    for part in parts:
        call = calls.setdefault(part.index, pb.ToolCall())
        call.id = call.id or part.id
        call.name = call.name or part.name
        arguments.setdefault(part.index, []).append(part.arguments)
    for index, call in calls.items():
        call.arguments = "".join(arguments[index])
    return list(calls.values())


def complete_calls(parts: Iterable[pb.ToolCallPart]) -> list[pb.ToolCall]:
    """Return those of the `whole_calls` whose arguments are a JSON object.

    One that was cut off has none that could be told; the finish reason tells that it was.
    """
    return [call for call in whole_calls(parts) if _is_object(call.arguments)]


def _is_object(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
