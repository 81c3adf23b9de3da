"""The items of a response's input, as a task's conversation."""

from collections.abc import Iterable, Sequence

from daiic.gateway.http.errors import missing_parameter, unsupported_parameter
from daiic.gateway.media.reader import MediaReader
from daiic.gateway.openai.schema.response_items import InputContent, InputItem
from daiic.gateway.openai.schema.response_request import NamedResponseTool, ResponseRequest
from daiic.gateway.text.tools import add_tool, choose_tools, must_be_function
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

_TEXTS = ("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text")


async def add_items(
    task: pb.TextTask, items: Iterable[InputItem], where: str, media: MediaReader
) -> None:
    """Add the turns that `items` make up to the conversation in `task`.

    What the model thought, said and called in one turn are items of their own. `where` names the
    list in errors; `media` reads images.

    Raises:
        ApiError: 400 for an item that no model could take; `param` says which.
    """
    reasoning = ""
    for index, item in enumerate(items):
        here = f"{where}[{index}]"
        kind = item.type or "message"
        if kind == "reasoning":
            reasoning += _text(item.content or item.summary, f"{here}.content")
        elif kind == "message":
            if item.role is None:
                raise missing_parameter(f"{here}.role")
            if item.content is None:
                raise missing_parameter(f"{here}.content")
            role = "system" if item.role == "developer" else item.role
            message = await _said(item.content, f"{here}.content", media)
            message.role = role
            task.messages.append(message)
            if role == "assistant":
                task.messages[-1].reasoning, reasoning = reasoning, ""
        elif kind == "function_call":
            call = _call(item, here)
            last = task.messages[-1] if task.messages else None
            if reasoning or last is None or last.role != "assistant":
                last = task.messages.add(role="assistant", reasoning=reasoning)
                reasoning = ""
            last.tool_calls.append(call)
        elif kind == "function_call_output":
            if not item.call_id:
                raise missing_parameter(f"{here}.call_id")
            if item.output is None:
                raise missing_parameter(f"{here}.output")
            message = await _said(item.output, f"{here}.output", media)
            message.role, message.tool_call_id = "tool", item.call_id
            task.messages.append(message)
        else:
            raise unsupported_parameter(
                f"{here}.type",
                f'"{shown(kind)}" is not supported; send messages, function calls, what they '
                "returned, and reasoning",
            )


def add_tools(task: pb.TextTask, request: ResponseRequest) -> None:
    """Add the tools, and what the model may do with them, to `task`.

    Raises:
        ApiError: 400 for a tool that cannot be offered, or a choice that cannot be made.
    """
    for index, tool in enumerate(request.tools or ()):
        where = f"tools[{index}]"
        must_be_function(tool.type, f"{where}.type")
        if tool.name is None:
            raise missing_parameter(f"{where}.name")
        add_tool(
            task,
            tool.name,
            tool.description,
            tool.parameters,
            strict=bool(tool.strict),
            where=f"{where}.parameters",
        )
    mode = name = None
    choice = request.tool_choice
    if isinstance(choice, NamedResponseTool):
        must_be_function(choice.type, "tool_choice.type")
        if choice.name is None:
            raise missing_parameter("tool_choice.name")
        name = choice.name
    else:
        mode = choice
    choose_tools(task, mode, name, parallel=request.parallel_tool_calls)


def _call(item: InputItem, where: str) -> pb.ToolCall:
    if not item.call_id:
        raise missing_parameter(f"{where}.call_id")
    if not item.name:
        raise missing_parameter(f"{where}.name")
    return pb.ToolCall(id=item.call_id, name=item.name, arguments=item.arguments or "")


async def _said(
    content: str | Sequence[InputContent], where: str, media: MediaReader
) -> pb.ChatMessage:
    """Return a message that says and shows `content`, in parts if it shows something."""
    if isinstance(content, str) or all(part.type != "input_image" for part in content):
        return pb.ChatMessage(content=_text(content, where))
    message = pb.ChatMessage()
    for index, part in enumerate(content):
        here = f"{where}[{index}]"
        if part.type != "input_image":
            message.parts.add(text=_text([part], where))
        elif part.image_url is None:
            raise missing_parameter(f"{here}.image_url")
        else:
            image = await media.image(part.image_url, f"{here}.image_url")
            message.parts.add(image=image)
    return message


def _text(content: str | Sequence[InputContent] | None, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    for index, part in enumerate(content):
        if part.type not in _TEXTS:
            raise unsupported_parameter(
                f"{where}[{index}].type",
                f'"{shown(part.type)}" is not supported here; send "input_text" or "input_image"',
            )
    return "".join(part.text or part.refusal or "" for part in content)
