"""POST /v1/chat/completions."""

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.openai.chat_format import ChatFormat
from daiic.gateway.openai.conversation import add_messages, add_tools
from daiic.gateway.openai.schema.chat import ChatRequest
from daiic.gateway.openai.text_task import repeated, text_task
from daiic.gateway.text.answering import answer_text
from daiic.gateway.text.tools import parameter_names


async def chat(gateway: Gateway, request: ChatRequest, context: RequestContext) -> None:
    """Answer POST /v1/chat/completions."""
    task, names = text_task(gateway, request, context)
    with gateway.media(context.client) as media:
        await add_messages(task.text, request.messages, media)
        add_tools(task.text, request)
        task.text.reasoning_effort = request.reasoning_effort or ""
        n = request.n or 1
        await answer_text(
            gateway,
            repeated([task], n),
            ChatFormat(context.activity.id, request.model, wants_usage=request.wants_usage),
            context,
            answers_each=n,
            field_names=names | parameter_names(task.text, "tools[{}].function.parameters"),
        )
