"""A task as a request to llama-server's chat endpoint, which knows the model's template.

It takes the tasks whose answer has to be taken apart (reasoning, calls of tools), and those that
need what only the template's owner can do (images, schemas that begin after the template's words).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.conversation import messages_of, tool_fields

OFF = ("none", "off")
"""Efforts that ask for no reasoning."""


@dataclass(frozen=True, slots=True)
class Template:
    """What the model's chat template knows, as llama-server found out.

    `thinks`: it has a place for reasoning. `efforts`: it is told how much is wanted.
    """

    tools: bool
    thinks: bool
    efforts: bool


def template_in(props: Mapping[str, Any]) -> Template:
    """Return what /props tells of the template."""
    caps = props.get("chat_template_caps") or {}
    source = str(props.get("chat_template") or "")
    return Template(
        tools=bool(caps.get("supports_tools") and caps.get("supports_tool_calls")),
        thinks=bool(caps.get("supports_preserve_reasoning")) or "</think>" in source,
        efforts=bool(caps.get("supports_reasoning_effort")),
    )


def needs_chat(task: pb.TextTask, template: Template) -> bool:
    """Return whether the conversation in `task` has to go through the chat endpoint."""
    if not task.messages:
        return False
    return (
        template.thinks
        or bool(task.tools or task.reasoning_effort)
        or task.constraint.WhichOneof("form") is not None
        or any(
            message.tool_calls
            or message.role == "tool"
            or message.reasoning
            or any(part.HasField("image") for part in message.parts)
            for message in task.messages
        )
    )


def chat_fields(
    task: pb.TextTask, template: Template, *, constrained: bool, said: tuple[str, str]
) -> dict[str, Any]:
    """Return the fields of a chat request for `task` but those for sampling and its constraint.

    `constrained` says whether it has one. `said` are the reasoning and the text that were
    delivered before; the answer goes on after them.

    Raises:
        TaskError: BAD_REQUEST for what no template could take; UNSUPPORTED for what this cannot.
    """
    fields: dict[str, Any] = {"messages": messages_of(task), **tool_fields(task)}
    if constrained and fields.get("tools"):
        raise TaskError(
            pb.UNSUPPORTED,
            "llama.cpp keeps to a `constraint` or calls tools, not both in one answer",
            "leave out one of them",
        )
    if task.reasoning_effort:
        fields["chat_template_kwargs"] = _effort(task.reasoning_effort, template)
    reasoning, text = said
    if reasoning or text:
        last = {"role": "assistant", "content": text, "reasoning_content": reasoning}
        if not reasoning:
            del last["reasoning_content"]
        fields["messages"].append(last)
        fields["continue_final_message"] = "content" if text else "reasoning_content"
        fields["add_generation_prompt"] = False
    return fields


def _effort(effort: str, template: Template) -> dict[str, Any]:
    if template.efforts:
        return {"reasoning_effort": effort}
    if template.thinks and effort in OFF:
        return {"enable_thinking": False}
    raise TaskError(
        pb.UNSUPPORTED,
        "the model's chat template does not follow `reasoning_effort`",
        f'leave it out, or send "{OFF[0]}"' if template.thinks else "leave it out",
    )


def said_before(delivered: str, text: str) -> tuple[str, str]:
    """Return the reasoning and the text of an answer whose tokens are `delivered`.

    `text` was delivered as text; what its tokens say before that was reasoning.
    """
    if not text:
        return delivered, ""
    where = delivered.rfind(text)
    return (delivered[:where] if where > 0 else ""), text
