"""What a worker made of the inputs of an embedding, whichever API asked for it."""

from collections.abc import Sequence

from daiic.errors import TaskError
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb


async def vectors(
    gateway: Gateway, task: pb.Task, context: RequestContext
) -> tuple[Sequence[pb.Embedding], int, str]:
    """Run `task`; return the vector of each of its inputs, and how many tokens were read.

    The name that comes with them is that of the model that made them.

    Raises:
        TaskError: if it ends without them; INTERNAL if there are more or fewer.
    """
    asked = task.model
    result = await gateway.cluster.answer(task)
    read = result.usage.prompt_tokens
    context.activity.output(result.worker_id, len(result.embeddings))
    gateway.activity.count_tokens(context.activity.model, read, 0)
    inputs = len(task.embed.inputs) + len(task.embed.token_inputs)
    if len(result.embeddings) != inputs:
        raise TaskError(
            pb.INTERNAL, f"{task.model} gave no vector for each input", "choose another model"
        )
    return result.embeddings, read, shown(result.model_name) or asked
