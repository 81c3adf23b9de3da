"""Which tools a task offers, checked before an engine sees them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.text.constraint import schema_in
from daiic.worker.engines.text.formats.events import Tool
from daiic.worker.limits import LIMITS

MAX_TOOLS = LIMITS.tools
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Offer:
    """The `tools` that an answer may call, or one of which it must."""

    tools: Sequence[pb.Tool]
    must_call: bool = False


def offer_of(task: pb.TextTask) -> Offer:
    """Return what `task` offers: of its tools those that its `tool_choice` allows.

    Raises:
        TaskError: BAD_REQUEST for tools that cannot be offered.
    """
    if len(task.tools) > MAX_TOOLS:
        raise bad(f"the task has {len(task.tools)} tools", f"send at most {MAX_TOOLS}")
    tools = list(task.tools)
    for tool in tools:
        if not tool.name:
            raise bad("a tool has no name", "name every tool")
        if not _NAME.fullmatch(tool.name):
            raise bad(
                f"a tool has the name {tool.name[:64]!r}",
                "use up to 128 letters, digits, dashes, dots and underscores",
            )
    if len({tool.name for tool in tools}) < len(tools):
        raise bad("two tools have the same name", "give each a name of its own")
    choice = task.tool_choice
    if choice.name:
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            raise bad(
                f"`tool_choice` names {choice.name}, which is not among the tools",
                "name one of them",
            )
        return Offer(tools, must_call=True)
    if choice.mode == pb.ToolChoice.REQUIRED:
        if not tools:
            raise bad("`tool_choice` asks for a call, and there are no tools", "send some")
        return Offer(tools, must_call=True)
    return Offer([] if choice.mode == pb.ToolChoice.NONE else tools)


def described(tool: pb.Tool) -> Tool:
    """Return `tool` with the schema of its arguments, which are an object.

    Raises:
        TaskError: BAD_REQUEST for a schema of something else.
    """
    where = f"{tool.name}.parameters"
    schema = schema_in(tool.parameters, where) if tool.parameters else {}
    if not schema:
        return Tool(tool.name, {"type": "object", "properties": {}, "additionalProperties": False})
    if schema.setdefault("type", "object") != "object":
        raise bad(f"`{where}` is no schema of an object", 'send one with "type": "object"')
    return Tool(tool.name, schema)
