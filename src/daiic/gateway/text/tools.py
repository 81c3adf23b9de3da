"""The tools that a request offers, as a task has them."""

from typing import Any

from daiic.gateway.http.errors import ApiError
from daiic.gateway.text.json_schema import schema_text
from daiic.wire import daiic_pb2 as pb


def add_tool(
    task: pb.TextTask,
    name: str,
    description: str | None,
    parameters: dict[str, Any] | None,
    *,
    strict: bool,
    where: str,
) -> None:
    """Offer one more tool; `where` is that of its `parameters`, for errors.

    Raises:
        ApiError: 400 for a schema that is too large, or a name that another tool has.
    """
    if any(tool.name == name for tool in task.tools):
        raise ApiError(400, f'tools: two have the name "{name}"', param="tools")
    task.tools.add(
        name=name,
        description=description or "",
        parameters=schema_text(parameters, where) if parameters else "",
        strict=strict,
    )


def check_tool_choice(task: pb.TextTask) -> None:
    """Refuse a choice among tools that are not there.

    Raises:
        ApiError: 400 if it is one.
    """
    choice = task.tool_choice
    if choice.name and all(tool.name != choice.name for tool in task.tools):
        raise ApiError(
            400,
            f'tool_choice: there is no tool "{choice.name}" among the tools',
            param="tool_choice",
        )
    if choice.mode == pb.ToolChoice.REQUIRED and not task.tools:
        raise ApiError(
            400, "tool_choice: a call is required, but there are no tools", param="tool_choice"
        )
