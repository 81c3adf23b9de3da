"""The tools that a request offers, as a task has them."""

from typing import Any

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.text.json_schema import schema_text
from daiic.shown import shown
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


def choose_tools(
    task: pb.TextTask, mode: str | None, name: str | None, *, parallel: bool | None
) -> None:
    """Say what the model may do with the tools of `task`.

    `mode` is "auto", "none" or "required"; a `name` requires that tool. Unless it is `parallel`,
    an answer has one call at most.

    Raises:
        ApiError: 400 for a choice among tools that are not there.
    """
    if name is not None:
        if all(tool.name != name for tool in task.tools):
            raise ApiError(
                400,
                f'tool_choice: there is no tool "{name}" among the tools',
                param="tool_choice",
            )
        task.tool_choice.name = name
    elif mode == "none":
        task.tool_choice.mode = pb.ToolChoice.NONE
    elif mode == "required":
        if not task.tools:
            raise ApiError(
                400, "tool_choice: a call is required, but there are no tools", param="tool_choice"
            )
        task.tool_choice.mode = pb.ToolChoice.REQUIRED
    task.one_call = bool(task.tools) and parallel is False


def parameter_names(task: pb.TextTask, where: str) -> dict[str, str]:
    """Return what a request calls the parameters of each tool of `task`, as workers quote them.

    `where` is what it calls them, with {} for the tool's number.
    """
    return {f"{tool.name}.parameters": where.format(n) for n, tool in enumerate(task.tools)}


def must_be_function(kind: str, param: str) -> None:
    """Refuse a tool of another `kind`.

    Raises:
        ApiError: 400 if it is one; `param` names it.
    """
    if kind != "function":
        raise unsupported_parameter(
            param, f'"{shown(kind)}" is not supported; offer functions only'
        )
