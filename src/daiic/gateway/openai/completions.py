"""POST /v1/completions."""

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.openai.completion_format import CompletionFormat
from daiic.gateway.openai.schema.completions import CompletionRequest
from daiic.gateway.openai.text_task import repeated, text_task
from daiic.gateway.text.answering import answer_text
from daiic.wire import daiic_pb2 as pb


async def complete(gateway: Gateway, request: CompletionRequest, context: RequestContext) -> None:
    """Answer POST /v1/completions."""
    unprompted, names = text_task(gateway, request, context)
    tasks = []
    for prompt in request.prompts:
        task = pb.Task()
        task.CopyFrom(unprompted)
        if isinstance(prompt, str):
            task.text.prompt = prompt
        else:
            task.text.prompt_tokens.extend(prompt)
        tasks.append(task)
    n = request.n or 1
    await answer_text(
        gateway,
        repeated(tasks, n),
        CompletionFormat(context.activity.id, request.model, wants_usage=request.wants_usage),
        context,
        answers_each=n,
        field_names=names,
    )
