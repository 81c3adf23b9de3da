"""POST /v1/messages, and /v1/messages/count_tokens."""

from daiic.gateway.anthropic.conversation import add_prompt
from daiic.gateway.anthropic.message_format import MessageFormat
from daiic.gateway.anthropic.schema.answer import TokenCount
from daiic.gateway.anthropic.schema.request import CountRequest, MessagesRequest
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.text.answering import answer_text
from daiic.gateway.text.sampling import add_sampling
from daiic.gateway.text.tools import parameter_names
from daiic.wire import daiic_pb2 as pb


async def write_message(
    gateway: Gateway, request: MessagesRequest, context: RequestContext
) -> None:
    """Answer POST /v1/messages."""
    task = gateway.task(request.model, stream=bool(request.stream), client=context.client)
    text = task.text
    with gateway.media(context.client) as media:
        await add_prompt(text, request, media)
        text.max_tokens = request.max_tokens
        text.stop.extend(request.stop_sequences or ())
        add_sampling(
            text, temperature=request.temperature, top_p=request.top_p, top_k=request.top_k
        )
        await answer_text(
            gateway,
            [task],
            MessageFormat(
                context.activity.id, request.model, shows_thinking=request.shows_thinking
            ),
            context,
            field_names=_field_names(request, text),
        )


async def count_tokens(gateway: Gateway, request: CountRequest, context: RequestContext) -> None:
    """Answer POST /v1/messages/count_tokens.

    A worker reads the prompt and writes a single token. Only it knows the model's template; and
    the request that most often follows finds the prompt in its cache.
    """
    task = gateway.task(request.model, stream=False, client=context.client)
    with gateway.media(context.client) as media:
        await add_prompt(task.text, request, media)
    task.text.ClearField("constraint")
    if task.text.HasField("tool_choice") and task.text.tool_choice.mode != pb.ToolChoice.NONE:
        task.text.ClearField("tool_choice")
    task.text.max_tokens = 1
    task.text.temperature = 0
    result = await gateway.cluster.answer(task)
    read = result.usage.prompt_tokens
    context.activity.output(result.worker_id, result.usage.completion_tokens)
    gateway.activity.count_tokens(request.model, read, result.usage.completion_tokens)
    await context.response.send_json(TokenCount(read))


def _field_names(request: MessagesRequest, task: pb.TextTask) -> dict[str, str]:
    """Return what the request calls the fields of a task that workers find fault with."""
    names = {name: name for name in request.__struct_fields__}
    names |= {"stop": "stop_sequences", "json_schema": "output_config.format.schema"}
    names["reasoning_effort"] = "output_config.effort"
    return names | parameter_names(task, "tools[{}].input_schema")
