"""A task's conversation and tools, as the model's chat template takes them."""

from collections.abc import Sequence
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad, check_content, check_role
from daiic.worker.engines.text.formats.loose_json import parsed
from daiic.worker.engines.text.formats.traits import Traits
from daiic.worker.engines.text.tools import described
from daiic.worker.engines.transformers_text.reading import call_ids

ROLES = ("system", "user", "assistant", "tool")
OFF = ("none", "off")
"""Efforts that ask for no reasoning."""


def messages_of(
    task: pb.TextTask, traits: Traits, *, in_parts: bool = False
) -> list[dict[str, Any]]:
    """Return the messages of `task`, with `in_parts` each content as a list of texts and images.

    Raises:
        TaskError: BAD_REQUEST for a message that no chat template could take.
    """
    names = {call.id: call.name for message in task.messages for call in message.tool_calls}
    content = _parts if in_parts else _text
    return [
        {"role": message.role, "content": content(message)} | _more(message, names, traits)
        for message in task.messages
    ]


def _text(message: pb.ChatMessage) -> str:
    """Return the text of `message`; that of parts is joined with nothing in between."""
    check_content(message)
    return message.content or "".join(part.text for part in message.parts)


def _parts(message: pb.ChatMessage) -> list[dict[str, str]]:
    check_content(message)
    return [
        {"type": "image"} if part.HasField("image") else {"type": "text", "text": part.text}
        for part in message.parts or [pb.ContentPart(text=message.content)]
    ]


def _more(message: pb.ChatMessage, names: dict[str, str], traits: Traits) -> dict[str, Any]:
    """Return what `message` has besides its content."""
    check_role(message.role, ROLES)
    said: dict[str, Any] = {}
    if message.reasoning and traits.reasoning_key:
        said[traits.reasoning_key] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [
            {
                "id": _fitting(call.id, traits),
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call)},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        said["tool_call_id"] = _fitting(message.tool_call_id, traits)
        if message.tool_call_id in names:
            said["name"] = names[message.tool_call_id]
    return said


def _arguments(call: pb.ToolCall) -> Any:
    """Return the arguments as templates want them, an object."""
    if not call.arguments:
        return {}
    arguments = parsed(call.arguments)
    if not isinstance(arguments, dict):
        raise bad(
            f"the arguments of a call of {call.name[:64]} are no JSON object",
            "send them as the model wrote them, whole",
        )
    return arguments


def _fitting(call_id: str, traits: Traits) -> str:
    """Return `call_id` as the model's template wants ids: some take only those of their form."""
    length = traits.form.id_length
    if not length or (len(call_id) == length and call_id.isalnum() and call_id.isascii()):
        return call_id
    return call_ids(0, list(call_id.encode()), length)(0)


def variables_of(task: pb.TextTask, traits: Traits, tools: Sequence[pb.Tool]) -> dict[str, Any]:
    """Return what the template is told besides the messages: `tools`, and how much to think.

    Raises:
        TaskError: UNSUPPORTED for an effort that it does not know; BAD_REQUEST for a tool whose
            schema is none.
    """
    variables: dict[str, Any] = {}
    if tools:
        variables["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(described(tool).schema),
                },
            }
            for tool in tools
        ]
    effort = task.reasoning_effort
    nothing_to_do = effort in OFF and not traits.thinks
    if effort and not (traits.effort or traits.switches or nothing_to_do):
        raise TaskError(
            pb.UNSUPPORTED,
            "the model's chat template does not follow `reasoning_effort`",
            "leave it out",
        )
    if effort and traits.effort:
        variables["reasoning_effort"] = effort
    if effort:
        variables |= dict.fromkeys(traits.switches, effort not in OFF)
    return variables
