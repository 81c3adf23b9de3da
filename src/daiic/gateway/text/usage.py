"""What the answers to one request took, all together."""

from collections.abc import Sequence

from daiic.wire import daiic_pb2 as pb


def total_usage(results: Sequence[pb.Result], answers_each: int) -> pb.Usage:
    """Return the tokens of all `results`, of which `answers_each` in a row have the same prompt.

    A prompt counts once, however many answers it got.
    """
    total = pb.Usage()
    for number, result in enumerate(results):
        usage = result.usage
        if number % answers_each == 0:
            total.prompt_tokens += usage.prompt_tokens
            total.cached_tokens += usage.cached_tokens
        total.completion_tokens += usage.completion_tokens
        total.reasoning_tokens += usage.reasoning_tokens
    return total
