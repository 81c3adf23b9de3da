"""The calls of tools in a whole answer, put together from their parts."""

from collections.abc import Iterable

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
