"""POST /api/chat and /api/generate."""

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.ollama.conversation import add_chat, add_parameters, add_turn
from daiic.gateway.ollama.schema.request import ChatRequest, GenerateRequest, TextRequest
from daiic.gateway.ollama.text_format import TextFormat
from daiic.gateway.text.answering import answer_text
from daiic.wire import daiic_pb2 as pb

FIELDS = {
    "json_schema": "format",
    "reasoning_effort": "think",
    "stop": "options.stop",
    "temperature": "options.temperature",
    "top_p": "options.top_p",
    "top_k": "options.top_k",
    "repetition_penalty": "options.repeat_penalty",
}
"""What requests call the fields of a task that workers find fault with."""


async def chat(gateway: Gateway, request: ChatRequest, context: RequestContext) -> None:
    """Answer POST /api/chat."""
    task = _task(gateway, request, context)
    with gateway.media(context.client) as media:
        add_chat(task.text, request, media)
    await _answer(gateway, request, task, context, loads=not request.messages)


async def generate(gateway: Gateway, request: GenerateRequest, context: RequestContext) -> None:
    """Answer POST /api/generate."""
    task = _task(gateway, request, context)
    with gateway.media(context.client) as media:
        add_turn(task.text, request, media)
    await _answer(gateway, request, task, context, loads=not request.prompt)


def _task(gateway: Gateway, request: TextRequest, context: RequestContext) -> pb.Task:
    task = gateway.task(request.model, stream=request.is_streamed, client=context.client)
    add_parameters(task.text, request)
    return task


async def _answer(
    gateway: Gateway, request: TextRequest, task: pb.Task, context: RequestContext, *, loads: bool
) -> None:
    """Run `task`, or only have its model loaded."""
    answer_format = TextFormat(
        request.model,
        is_chat=isinstance(request, ChatRequest),
        shows_thinking=request.think is not False,
    )
    if not loads:
        await answer_text(gateway, [task], answer_format, context, field_names=FIELDS)
        return
    loading = gateway.task(request.model, stream=False, client=context.client)
    loading.load.SetInParent()
    result = await gateway.cluster.answer(loading)
    context.activity.output(result.worker_id, 0)
    await context.response.send(answer_format.loaded())
