"""A request's prompt, as a task has it."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from daiic.gateway.anthropic.schema.blocks import Block, MessageParam, ResultBlock, Results
from daiic.gateway.anthropic.schema.request import CountRequest
from daiic.gateway.http.errors import ApiError, missing_parameter, unsupported_parameter
from daiic.gateway.media.reader import MediaReader
from daiic.gateway.text.json_schema import schema_text
from daiic.gateway.text.tools import add_tool, choose_tools
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb


async def add_prompt(task: pb.TextTask, request: CountRequest, media: MediaReader) -> None:
    """Add the conversation, the tools and the format of the answer to `task`.

    `media` makes what it holds of images.

    Raises:
        ApiError: 400 for what no model could take; `param` says which.
    """
    if request.system:
        system = request.system
        text = system if isinstance(system, str) else "\n\n".join(block.text for block in system)
        task.messages.add(role="system", content=text)
    for index, message in enumerate(request.messages):
        async for said in _messages(message, f"messages[{index}]", media):
            task.messages.append(said)
    _add_tools(task, request)
    config = request.output_config
    if config is not None:
        task.reasoning_effort = config.effort or ""
        if config.format is not None:
            where = "output_config.format.schema"
            task.constraint.json_schema = schema_text(config.format.schema, where)


def _add_tools(task: pb.TextTask, request: CountRequest) -> None:
    for index, tool in enumerate(request.tools or ()):
        where = f"tools[{index}]"
        if tool.type not in (None, "custom"):
            kind = shown(tool.type or "")
            raise unsupported_parameter(
                f"{where}.type", f'"{kind}" is not supported; offer tools of your own'
            )
        add_tool(
            task,
            tool.name,
            tool.description,
            tool.input_schema,
            strict=bool(tool.strict),
            where=f"{where}.input_schema",
        )
    choice = request.tool_choice
    if choice is None:
        return
    if choice.type == "tool" and not choice.name:
        raise missing_parameter("tool_choice.name")
    choose_tools(
        task,
        "required" if choice.type == "any" else choice.type,
        choice.name if choice.type == "tool" else None,
        parallel=not choice.disable_parallel_tool_use,
    )


async def _messages(
    message: MessageParam, where: str, media: MediaReader
) -> AsyncIterator[pb.ChatMessage]:
    """Yield what `message` is in a task: what tools gave are messages of their own there."""
    if isinstance(message.content, str):
        yield pb.ChatMessage(role=message.role, content=message.content)
        return
    where = f"{where}.content"
    if message.role == "assistant":
        yield _assistant(message.content, where)
        return
    said = pb.ChatMessage(role="user")
    for index, block in enumerate(message.content):
        at = f"{where}[{index}]"
        if block.type == "tool_result":
            # Templates expect them right after the call, whatever the user says besides.
            yield await _tool_result(block, at, media)
        else:
            said.parts.append(await _user_part(block, at, media))
    if said.parts:
        yield said


def _assistant(blocks: Sequence[Block], where: str) -> pb.ChatMessage:
    said = pb.ChatMessage(role="assistant")
    text, reasoning = [], []
    for index, block in enumerate(blocks):
        at = f"{where}[{index}]"
        if block.type == "text":
            text.append(_needed(block.text, f"{at}.text"))
        elif block.type == "thinking":
            reasoning.append(_needed(block.thinking, f"{at}.thinking"))
        elif block.type == "tool_use":
            said.tool_calls.add(
                id=_needed(block.id, f"{at}.id"),
                name=_needed(block.name, f"{at}.name"),
                arguments=msgspec.json.encode(block.input or {}).decode(),
            )
        elif block.type != "redacted_thinking":  # nobody here can read it
            raise _unsupported(block.type, at)
    said.content, said.reasoning = "".join(text), "".join(reasoning)
    return said


async def _tool_result(block: Block, where: str, media: MediaReader) -> pb.ChatMessage:
    said = pb.ChatMessage(
        role="tool", tool_call_id=_needed(block.tool_use_id, f"{where}.tool_use_id")
    )
    parts = await _result_parts(block.content or "", f"{where}.content", media)
    if block.is_error:
        parts.insert(0, pb.ContentPart(text="The tool failed: "))
    if all(part.HasField("text") for part in parts):
        said.content = "".join(part.text for part in parts)
    else:
        said.parts.extend(parts)
    return said


async def _result_parts(content: Results, where: str, media: MediaReader) -> list[pb.ContentPart]:
    if isinstance(content, str):
        return [pb.ContentPart(text=content)]
    return [
        await _user_part(block, f"{where}[{index}]", media) for index, block in enumerate(content)
    ]


async def _user_part(block: Block | ResultBlock, where: str, media: MediaReader) -> pb.ContentPart:
    source = block.source
    if block.type == "text":
        return pb.ContentPart(text=_needed(block.text, f"{where}.text"))
    if block.type == "image" and source is not None and source.type == "base64":
        at = f"{where}.source.data"
        return pb.ContentPart(image=media.image_in(_needed(source.data, at), at))
    if block.type == "image" and source is not None and source.type == "url":
        at = f"{where}.source.url"
        return pb.ContentPart(image=await media.image(_needed(source.url, at), at))
    if block.type == "document" and source is not None and source.type == "text":
        return pb.ContentPart(text=_needed(source.data, f"{where}.source.data"))
    raise _unsupported(block.type, where)


def _needed(value: str | None, where: str) -> str:
    if value is None:
        raise missing_parameter(where)
    return value


def _unsupported(kind: str, where: str) -> ApiError:
    return unsupported_parameter(f"{where}.type", f'"{shown(kind)}" is not supported here')
