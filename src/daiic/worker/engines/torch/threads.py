"""How many threads torch computes with on a CPU: as many as are fastest for the model."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from daiic.worker.engines.torch.errors import is_out_of_memory

WITHIN = 1.0
"""Seconds that trying may take, beyond one step with each number."""
CLEARLY = 0.9
"""Share of the time with all threads below which fewer are faster. A busy machine must not decide
it by chance, and what is done for many texts at once gains more from threads than one token."""


def use_fastest(model: Any, most: int) -> int:
    """Let torch compute with as many of `most` threads as are fastest for a token of `model`.

    It counts for what begins to compute in this process from now on. The fastest is not always all
    of them: each step waits for the slowest thread, and small matrices are not worth the wait.
    """
    token = torch.zeros(1, 1, dtype=torch.long)

    @torch.inference_mode()
    def step(threads: int) -> None:
        torch.set_num_threads(threads)
        model(input_ids=token)

    try:
        number = fastest(step, candidates(most))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        number = most  # what is wrong with the model shows better when it is tried with a task
    torch.set_num_threads(number)
    return number


def candidates(most: int) -> list[int]:
    """Return the numbers to try: the powers of two below `most`, and `most` itself, the largest
    first."""
    return [most, *(1 << power for power in reversed(range((most - 1).bit_length())))]


def fastest(
    step: Callable[[int], None],
    numbers: Sequence[int],
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Return the number with which `step` is fastest: the first, if no other is clearly faster.

    All are tried in turn, so that what else a machine does meets all alike; of several tries of a
    number the shortest counts.
    """
    if len(numbers) == 1:
        return numbers[0]
    step(numbers[0])  # what is only slow at first must not count
    least: dict[int, float] = {}
    end = clock() + WITHIN
    while not least or clock() < end:
        for number in numbers:
            began = clock()
            step(number)
            took = clock() - began
            least[number] = min(took, least.get(number, took))
    best = min(numbers, key=lambda number: least[number])
    return best if least[best] < CLEARLY * least[numbers[0]] else numbers[0]
