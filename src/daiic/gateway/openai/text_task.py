"""What chat and plain completions have in common: sampling, and several answers to a prompt."""

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.limits import ANSWERS
from daiic.gateway.openai.schema.sampling import SampledRequest
from daiic.gateway.text.sampling import add_sampling
from daiic.wire import daiic_pb2 as pb


def text_task(
    gateway: Gateway, request: SampledRequest, context: RequestContext
) -> tuple[pb.Task, dict[str, str]]:
    """Return a task with the request's model, sampling and format, without its text.

    With it comes what `request` calls the fields that workers find fault with.

    Raises:
        ApiError: 400 for a format that cannot be kept to.
    """
    task = gateway.task(request.model, stream=bool(request.stream), client=context.client)
    text = task.text
    text.max_tokens = request.limit
    text.stop.extend(request.stops)
    add_sampling(
        text,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
        logprobs=request.likeliest,
    )
    names = {name: name for name in request.__struct_fields__}
    if (asked := request.constraint) is not None:
        constraint, where = asked
        text.constraint.CopyFrom(constraint)
        names[constraint.WhichOneof("form") or ""] = where
    return task, names


def repeated(tasks: list[pb.Task], n: int) -> list[pb.Task]:
    """Return `n` tasks for each; with a seed, each of the `n` gets its own, derived from it.

    Raises:
        ApiError: 400 if they are too many.
    """
    if len(tasks) * n > ANSWERS:
        raise ApiError(
            400, f"n: {len(tasks)} prompts times {n} is more than {ANSWERS} answers", param="n"
        )
    if n == 1:
        return tasks
    copies = []
    for task in tasks:
        for choice in range(n):
            copy = pb.Task()
            copy.CopyFrom(task)
            if copy.text.HasField("seed"):
                copy.text.seed = (copy.text.seed + choice) % 2**64
            copies.append(copy)
    return copies
