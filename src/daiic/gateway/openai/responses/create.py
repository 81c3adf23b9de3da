"""POST /v1/responses."""

import secrets
import time

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.body_memory import Body
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.limits import MESSAGES
from daiic.gateway.media.reader import MediaReader
from daiic.gateway.openai.responses.conversation import add_items, add_tools
from daiic.gateway.openai.responses.responses_format import ResponsesFormat
from daiic.gateway.openai.responses.store import KeptResponse, ResponseStore
from daiic.gateway.openai.schema.response import Response
from daiic.gateway.openai.schema.response_items import InputContent, InputItem
from daiic.gateway.openai.schema.response_request import ResponseRequest
from daiic.gateway.openai.text_task import text_task
from daiic.gateway.text.answering import answer_text
from daiic.gateway.text.tools import parameter_names
from daiic.shown import shown


class _Output(msgspec.Struct):
    """Of a response that was kept, what goes on as input."""

    output: list[InputItem]


async def respond(
    store: ResponseStore, gateway: Gateway, request: ResponseRequest, context: RequestContext
) -> None:
    """Answer POST /v1/responses."""
    response_id = f"resp_{secrets.token_hex(16)}"
    items = input_items(request.input, response_id)
    # What is fetched from the store counts as if it had been sent again.
    with gateway.bodies.of(context.client) as memory:
        task, names = text_task(gateway, request, context)
        if request.instructions:
            task.text.messages.add(role="system", content=request.instructions)
        most = gateway.settings.max_body_bytes
        earlier = earlier_items(store, request, context.client.id, memory, most)
        media = MediaReader(gateway.settings.allowed_media_hosts, memory.count)
        await add_items(task.text, earlier, "previous_response_id", media)
        await add_items(task.text, items, "input", media)
        add_tools(task.text, request)
        if request.reasoning:
            task.text.reasoning_effort = request.reasoning.effort or ""

        def keep(response: bytes) -> None:
            if request.store is not False:
                kept = KeptResponse(
                    context.client.id,
                    msgspec.json.encode(items),
                    response,
                    request.previous_response_id,
                )
                store.put(response_id, kept)

        answer_format = ResponsesFormat(Response.to(request, response_id, int(time.time())), keep)
        names |= parameter_names(task.text, "tools[{}].parameters")
        await answer_text(gateway, [task], answer_format, context, field_names=names)


def input_items(sent: str | list[InputItem], response_id: str) -> list[InputItem]:
    """Return the input as items that can be told apart by their ids."""
    suffix = response_id.partition("_")[2]
    if isinstance(sent, str):
        sent = [InputItem(type="message", role="user", content=[InputContent("input_text", sent)])]
    return [
        item if item.id else msgspec.structs.replace(item, id=f"in_{suffix}_{index}")
        for index, item in enumerate(sent)
    ]


def earlier_items(
    store: ResponseStore, request: ResponseRequest, client: str, memory: Body, most: int
) -> list[InputItem]:
    """Return all that was said before `request`, in order; its bytes are added to `memory`.

    Raises:
        ApiError: 404 if a response of the conversation is not kept; 400 if it has become longer
            than `most` bytes, which is what could be sent at once; 429 as `Body.count` does.
    """
    turns: list[list[InputItem]] = []
    previous = request.previous_response_id
    count = 0
    while previous is not None:
        kept = store.get(previous, client)
        if kept is None:
            raise _not_kept(request.previous_response_id or "", previous)
        memory.count(kept.input_items)
        memory.count(kept.response)
        said = kept.items
        answered = msgspec.json.decode(kept.response, type=_Output).output
        count += len(said) + len(answered)
        if memory.size > most or count > MESSAGES:
            raise ApiError(
                400,
                f"previous_response_id: the conversation has more than {most} bytes or {MESSAGES} "
                "items by now; begin another one with what matters of it",
                param="previous_response_id",
            )
        turns += [answered, said]
        previous = kept.previous
    return [item for turn in reversed(turns) for item in turn]


def _not_kept(asked: str, missing: str) -> ApiError:
    what = f"there is no response {shown(asked)}"
    if asked != missing:
        what = f"{asked} goes on from {missing}, which is gone"
    return ApiError(
        404,
        f"previous_response_id: {what}: responses are kept for a limited time, by the gateway "
        "that made them, for the client that asked; send the whole conversation as input",
        param="previous_response_id",
        code="response_not_found",
    )
