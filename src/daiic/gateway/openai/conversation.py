"""A chat request's messages and tools, as a task has them."""

from collections.abc import Sequence

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.openai.schema.chat import ChatRequest
from daiic.gateway.openai.schema.messages import ContentPart, Message
from daiic.gateway.openai.schema.tools import NamedTool, SentToolCall
from daiic.gateway.text.tools import add_tool, check_tool_choice
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

_MODES = {
    "auto": pb.ToolChoice.AUTO,
    "none": pb.ToolChoice.NONE,
    "required": pb.ToolChoice.REQUIRED,
}


def add_messages(task: pb.TextTask, messages: Sequence[Message]) -> None:
    """Add the conversation to `task`.

    Raises:
        ApiError: 400 for a message that no model could take; `param` says which.
    """
    for index, message in enumerate(messages):
        task.messages.append(_message(message, f"messages[{index}]"))


def add_tools(task: pb.TextTask, request: ChatRequest) -> None:
    """Add the tools, and what the model may do with them, to `task`.

    Raises:
        ApiError: 400 for a tool that cannot be offered, or a choice that cannot be made.
    """
    for index, tool in enumerate(request.tools or ()):
        where = f"tools[{index}]"
        if tool.type != "function":
            raise unsupported_parameter(
                f"{where}.type", f'"{shown(tool.type)}" is not supported; offer functions'
            )
        function = tool.function
        if function is None:
            raise ApiError(400, f"{where}.function: is missing", param=f"{where}.function")
        add_tool(
            task,
            function.name,
            function.description,
            function.parameters,
            strict=bool(function.strict),
            where=f"{where}.function.parameters",
        )
    choice = request.tool_choice
    if isinstance(choice, NamedTool):
        if choice.type != "function" or choice.function is None:
            raise unsupported_parameter(
                "tool_choice", 'it is "none", "auto", "required", or names a function'
            )
        task.tool_choice.name = choice.function.name
    elif choice in ("none", "required"):
        task.tool_choice.mode = _MODES[choice]
    check_tool_choice(task)
    task.one_call = bool(task.tools) and request.parallel_tool_calls is False


def _message(message: Message, where: str) -> pb.ChatMessage:
    if message.role == "function":
        raise unsupported_parameter(
            f"{where}.role", 'it is the old form; send the role "tool", and tool_call_id'
        )
    if message.role == "tool" and message.tool_call_id is None:
        param = f"{where}.tool_call_id"
        raise ApiError(400, f"{param}: is missing: say which call this answers", param=param)
    if message.tool_calls and message.role != "assistant":
        raise ApiError(
            400, f"{where}.tool_calls: only an assistant calls", param=f"{where}.tool_calls"
        )
    is_assistant = message.role == "assistant"
    if message.content is None and not is_assistant:
        raise ApiError(400, f"{where}.content: is missing", param=f"{where}.content")
    return pb.ChatMessage(
        role="system" if message.role == "developer" else message.role,
        content=_text(message.content or "", f"{where}.content"),
        tool_calls=[
            _call(call, f"{where}.tool_calls[{index}]")
            for index, call in enumerate(message.tool_calls or ())
        ],
        tool_call_id=(message.tool_call_id or "") if message.role == "tool" else "",
        reasoning=(message.reasoning_content or "") if is_assistant else "",
    )


def _text(content: str | Sequence[ContentPart], where: str) -> str:
    """Return what the parts of a message say."""
    if isinstance(content, str):
        return content
    for index, part in enumerate(content):
        if part.type not in ("text", "refusal"):
            raise unsupported_parameter(
                f"{where}[{index}].type",
                f'"{shown(part.type)}" is not supported; send text parts only',
            )
    return "".join(part.text or part.refusal or "" for part in content)


def _call(call: SentToolCall, where: str) -> pb.ToolCall:
    if call.type != "function" or call.function is None:
        raise unsupported_parameter(
            f"{where}.type", f'"{shown(call.type)}" is not supported; models call functions'
        )
    return pb.ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
