"""A task's conversation and tools, as llama-server's chat endpoint takes them."""

from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.images import data_uri
from daiic.worker.engines.text.checks import check_content, check_role
from daiic.worker.engines.text.constraint import schema_in
from daiic.worker.engines.text.tools import offer_of
from daiic.worker.media.images import images_of

ROLES = ("system", "user", "assistant", "tool")


def messages_of(task: pb.TextTask) -> list[dict[str, Any]]:
    """Return the messages of `task`; blocks for a moment if there are images in them.

    Raises:
        TaskError: BAD_REQUEST for a message that no chat template could take.
    """
    images_of(task)
    return [_message(message) for message in task.messages]


def _message(message: pb.ChatMessage) -> dict[str, Any]:
    check_role(message.role, ROLES)
    check_content(message)
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if any(part.HasField("image") for part in message.parts):
        said["content"] = [_part(part) for part in message.parts]
    elif message.parts:
        said["content"] = "".join(part.text for part in message.parts)
    if message.reasoning:
        said["reasoning_content"] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        said["tool_call_id"] = message.tool_call_id
    return said


def _part(part: pb.ContentPart) -> dict[str, Any]:
    if part.HasField("image"):
        return {"type": "image_url", "image_url": {"url": data_uri(part.image)}}
    return {"type": "text", "text": part.text}


def tool_fields(task: pb.TextTask) -> dict[str, Any]:
    """Return the fields of a chat request for the tools of `task` and what it may do with them.

    Raises:
        TaskError: BAD_REQUEST for tools that cannot be offered.
    """
    offer = offer_of(task)
    # Tools that must not be called are known to the model all the same.
    tools, mode = offer.tools or task.tools, "none"
    if offer.tools:
        mode = "required" if offer.must_call else "auto"
    if not tools:
        return {}
    return {
        "tools": [_tool(tool) for tool in tools],
        "tool_choice": mode,
        "parallel_tool_calls": True,
    }


def _tool(tool: pb.Tool) -> dict[str, Any]:
    parameters = schema_in(tool.parameters, f"{tool.name}.parameters") if tool.parameters else {}
    described = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": described}
