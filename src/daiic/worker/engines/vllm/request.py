"""A task as the fields of a request to vLLM's completions."""

from collections.abc import Collection
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.constraint import check_length, schema_in, without_anchors
from daiic.worker.engines.text.sampling import checked_sampling
from daiic.worker.engines.transformers_text.parameters import Parameters

SEEDS = 1 << 63
"""vLLM's seeds are signed and have 64 bits."""
OF_THE_ANSWER = ("presence_penalty", "frequency_penalty")
"""They look at what was made since the request began, not at its prompt."""


def request_fields(
    task: pb.TextTask, wanted: Parameters, end_tokens: Collection[int]
) -> dict[str, Any]:
    """Return what a request has beside its prompt and its length.

    `wanted` is what `task` asks for, completed; the text ends with one of `end_tokens`.

    Raises:
        TaskError: BAD_REQUEST for a value that cannot be used.
    """
    fields: dict[str, Any] = {
        "temperature": wanted.sampling.temperature,
        "top_p": wanted.sampling.top_p,
        "top_k": wanted.sampling.top_k,
        "stop_token_ids": sorted(end_tokens),
        "return_token_ids": True,
        "stream_options": {"include_usage": True},
        **checked_sampling(task.sampling),
        **constraint_fields(task.constraint),
    }
    if task.HasField("seed"):
        fields["seed"] = task.seed % SEEDS
    if task.sampling.logit_bias:
        fields["logit_bias"] = {
            str(token): bias for token, bias in sorted(task.sampling.logit_bias.items())
        }
    if task.sampling.HasField("logprobs"):
        fields["logprobs"] = task.sampling.logprobs
        fields["return_tokens_as_token_ids"] = True
    return fields


def constraint_fields(constraint: pb.Constraint) -> dict[str, Any]:
    """Return the field of a request whose answer keeps to `constraint`.

    Raises:
        TaskError: BAD_REQUEST if it is too large, or a schema that is none; vLLM refuses what
            else cannot be kept to.
    """
    form = constraint.WhichOneof("form")
    if form is None or (form == "json" and not constraint.json):
        return {}
    if form == "json":
        return {"structured_outputs": {"json_object": True}}
    said = getattr(constraint, form)
    check_length(said, form)
    if form == "json_schema":
        return {"structured_outputs": {"json": schema_in(said, form)}}
    if form == "regex":
        return {"structured_outputs": {"regex": without_anchors(said)}}
    return {"structured_outputs": {"grammar": said}}


def begins_with_the_answer(fields: dict[str, Any]) -> bool:
    """Return whether something in a request's `fields` would start over if it went on elsewhere."""
    return "structured_outputs" in fields or any(fields.get(name) for name in OF_THE_ANSWER)
