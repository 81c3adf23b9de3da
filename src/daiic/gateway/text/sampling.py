"""How the tokens of an answer are chosen, as a task has it."""

from collections.abc import Mapping

from daiic.wire import daiic_pb2 as pb

NO_BIAS: Mapping[int, float] = {}


def add_sampling(
    task: pb.TextTask,
    *,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    logit_bias: Mapping[int, float] = NO_BIAS,
    logprobs: int | None = None,
) -> None:
    """Add those to `task` that are given; a seed below 0 is another way to write a large one.

    What a model needs for a `Sampling` at all is asked of it only where that does something.
    """
    if temperature is not None:
        task.temperature = temperature
    if top_p is not None:
        task.top_p = top_p
    if top_k is not None:
        task.top_k = top_k
    if seed is not None:
        task.seed = seed % 2**64
    if min_p:
        task.sampling.min_p = min_p
    if repetition_penalty is not None and repetition_penalty != 1:
        task.sampling.repetition_penalty = repetition_penalty
    if presence_penalty:
        task.sampling.presence_penalty = presence_penalty
    if frequency_penalty:
        task.sampling.frequency_penalty = frequency_penalty
    for token, bias in logit_bias.items():
        task.sampling.logit_bias[token] = bias
    if logprobs is not None:
        task.sampling.logprobs = logprobs
