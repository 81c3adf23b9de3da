"""A request's prompt and sampling, as a task has them."""

from collections.abc import Iterable, Sequence

import msgspec

from daiic.gateway.http.errors import unsupported_parameter
from daiic.gateway.media.reader import MediaReader
from daiic.gateway.ollama.schema.request import (
    ChatRequest,
    GenerateRequest,
    Message,
    Options,
    TextRequest,
)
from daiic.gateway.text.json_schema import schema_text
from daiic.gateway.text.sampling import add_sampling
from daiic.gateway.text.tools import add_tool
from daiic.wire import daiic_pb2 as pb


def add_chat(task: pb.TextTask, request: ChatRequest, media: MediaReader) -> None:
    """Add a conversation and its tools to `task`, with what `media` makes of its images.

    Raises:
        ApiError: 400 for what no model could take; `param` says which.
    """
    task.messages.extend(_messages(request.messages, media))
    for index, tool in enumerate(request.tools or ()):
        function = tool.function
        where = f"tools[{index}].function.parameters"
        add_tool(
            task,
            function.name,
            function.description,
            function.parameters,
            strict=False,
            where=where,
        )


def add_turn(task: pb.TextTask, request: GenerateRequest, media: MediaReader) -> None:
    """Add what /api/generate asks for to `task`: one turn, or a text to continue.

    Raises:
        ApiError: 400 for images that are none, or beside a raw text.
    """
    if request.raw and request.images:
        raise unsupported_parameter("images", "a raw text has no place for them; leave out raw")
    if request.raw:
        task.prompt = request.prompt
        return
    if request.system:
        task.messages.add(role="system", content=request.system)
    said = task.messages.add(role="user", content=request.prompt)
    _show(said, request.images, "images", media)


def add_parameters(task: pb.TextTask, request: TextRequest) -> None:
    """Add how the answer is made to `task`.

    Raises:
        ApiError: 400 for a schema that is too large.
    """
    options = request.options or Options()
    task.max_tokens = max(options.num_predict or 0, 0)  # below 0 are Ollama's words for no limit
    stop = options.stop or ()
    task.stop.extend([stop] if isinstance(stop, str) else stop)
    add_sampling(
        task,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        min_p=options.min_p,
        seed=options.seed,
        repetition_penalty=options.repeat_penalty,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
    if request.format == "json":
        task.constraint.json = True
    elif request.format:
        task.constraint.json_schema = schema_text(request.format, "format")
    if isinstance(request.think, str):
        task.reasoning_effort = request.think


def _show(
    said: pb.ChatMessage, images: Sequence[str] | None, where: str, media: MediaReader
) -> None:
    """Put `images` before what is said."""
    if not images:
        return
    said.parts.extend(
        pb.ContentPart(image=media.image_in(image, f"{where}[{index}]"))
        for index, image in enumerate(images)
    )
    said.parts.add(text=said.content)
    said.content = ""


def _messages(messages: Sequence[Message], media: MediaReader) -> Iterable[pb.ChatMessage]:
    """Yield what `messages` are in a task: there, calls have ids, by which results name them."""
    unanswered: list[tuple[str, str]] = []
    for index, message in enumerate(messages):
        said = pb.ChatMessage(
            role=message.role, content=message.content or "", reasoning=message.thinking or ""
        )
        _show(said, message.images, f"messages[{index}].images", media)
        if message.role == "assistant":
            unanswered = []
            for number, call in enumerate(message.tool_calls or ()):
                call_id = f"call_{index}_{number}"
                unanswered.append((call_id, call.function.name))
                said.tool_calls.add(
                    id=call_id,
                    name=call.function.name,
                    arguments=msgspec.json.encode(call.function.arguments).decode(),
                )
        elif message.role == "tool":
            said.tool_call_id = _answered(unanswered, message.tool_name)
        yield said


def _answered(unanswered: list[tuple[str, str]], name: str | None) -> str:
    """Return which call a result is of, and take it out: the first, or the first of that name."""
    for call in unanswered:
        if name is None or call[1] == name:
            unanswered.remove(call)
            return call[0]
    return unanswered.pop(0)[0] if unanswered else "call"
