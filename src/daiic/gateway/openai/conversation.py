"""A chat request's messages and tools, as a task has them."""

from collections.abc import Sequence

from daiic.gateway.http.errors import ApiError, missing_parameter, unsupported_parameter
from daiic.gateway.media.reader import MediaReader
from daiic.gateway.openai.schema.chat import ChatRequest
from daiic.gateway.openai.schema.messages import ContentPart, Message
from daiic.gateway.openai.schema.tools import NamedTool, SentToolCall
from daiic.gateway.text.tools import add_tool, choose_tools, must_be_function
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

TEXTS = ("text", "refusal")


async def add_messages(task: pb.TextTask, messages: Sequence[Message], media: MediaReader) -> None:
    """Add the conversation to `task`, with what `media` makes of its images and recordings.

    Raises:
        ApiError: 400 for a message that no model could take; `param` says which.
    """
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        said = _message(message, where)
        if message.content is None or isinstance(message.content, str):
            said.content = message.content or ""
        elif all(part.type in TEXTS for part in message.content):
            said.content = "".join(part.text or part.refusal or "" for part in message.content)
        else:
            for number, part in enumerate(message.content):
                said.parts.append(await _part(part, f"{where}.content[{number}]", media))
        task.messages.append(said)


def add_tools(task: pb.TextTask, request: ChatRequest) -> None:
    """Add the tools, and what the model may do with them, to `task`.

    Raises:
        ApiError: 400 for a tool that cannot be offered, or a choice that cannot be made.
    """
    for index, tool in enumerate(request.tools or ()):
        where = f"tools[{index}]"
        must_be_function(tool.type, f"{where}.type")
        function = tool.function
        if function is None:
            raise missing_parameter(f"{where}.function")
        add_tool(
            task,
            function.name,
            function.description,
            function.parameters,
            strict=bool(function.strict),
            where=f"{where}.function.parameters",
        )
    mode = name = None
    choice = request.tool_choice
    if isinstance(choice, NamedTool):
        must_be_function(choice.type, "tool_choice.type")
        if choice.function is None:
            raise missing_parameter("tool_choice.function")
        name = choice.function.name
    else:
        mode = choice
    choose_tools(task, mode, name, parallel=request.parallel_tool_calls)


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
        raise missing_parameter(f"{where}.content")
    return pb.ChatMessage(
        role="system" if message.role == "developer" else message.role,
        tool_calls=[
            _call(call, f"{where}.tool_calls[{index}]")
            for index, call in enumerate(message.tool_calls or ())
        ],
        tool_call_id=(message.tool_call_id or "") if message.role == "tool" else "",
        reasoning=(message.reasoning_content or "") if is_assistant else "",
    )


async def _part(part: ContentPart, where: str, media: MediaReader) -> pb.ContentPart:
    match part.type:
        case "text" | "refusal":
            return pb.ContentPart(text=part.text or part.refusal or "")
        case "image_url":
            image = part.image_url
            if image is None:
                raise missing_parameter(f"{where}.image_url")
            url = image if isinstance(image, str) else image.url
            return pb.ContentPart(image=await media.image(url, f"{where}.image_url"))
        case "input_audio":
            audio = part.input_audio
            if audio is None:
                raise missing_parameter(f"{where}.input_audio")
            at = f"{where}.input_audio"
            return pb.ContentPart(audio=media.audio_in(audio.data, audio.format, at))
    raise unsupported_parameter(
        f"{where}.type",
        f'"{shown(part.type)}" is not supported; send "text", "image_url" or "input_audio"',
    )


def _call(call: SentToolCall, where: str) -> pb.ToolCall:
    if call.type != "function" or call.function is None:
        raise unsupported_parameter(
            f"{where}.type", f'"{shown(call.type)}" is not supported; models call functions'
        )
    return pb.ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
