"""What chat and plain completions have in common: sampling, and several answers to a prompt."""

from collections.abc import Mapping

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.limits import ANSWERS
from daiic.gateway.openai.schema.sampling import SampledRequest
from daiic.wire import daiic_pb2 as pb

_CHANGES_NOTHING = {
    "min_p": 0,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
}


def text_task(gateway: Gateway, request: SampledRequest, context: RequestContext) -> pb.Task:
    """Return a task with the request's model, sampling and format, without its text.

    Raises:
        ApiError: 400 for a format that cannot be kept to.
    """
    task = gateway.task(request.model, stream=bool(request.stream), client=context.client)
    text = task.text
    text.max_tokens = request.limit
    text.stop.extend(request.stops)
    if request.temperature is not None:
        text.temperature = request.temperature
    if request.top_p is not None:
        text.top_p = request.top_p
    if request.top_k is not None:
        text.top_k = request.top_k
    if request.seed is not None:
        text.seed = request.seed % 2**64
    # What models need for a Sampling at all is asked of them only where it does something.
    for name, neutral in _CHANGES_NOTHING.items():
        value = getattr(request, name)
        if value is not None and value != neutral:
            setattr(text.sampling, name, value)
    for token, bias in (request.logit_bias or {}).items():
        text.sampling.logit_bias[int(token)] = bias
    if request.likeliest is not None:
        text.sampling.logprobs = request.likeliest
    if (constraint := request.constraint) is not None:
        text.constraint.CopyFrom(constraint[0])
    return task


def field_names(request: SampledRequest) -> Mapping[str, str]:
    """Return what `request` calls the fields of a task that workers find fault with."""
    names = {name: name for name in request.__struct_fields__}
    if (constraint := request.constraint) is not None:
        names[constraint[0].WhichOneof("form") or ""] = constraint[1]
    return names


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
