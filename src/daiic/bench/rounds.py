"""What a bench measures: the same question asked of one worker by more and more streams."""

import asyncio
import contextlib
import secrets
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from daiic.bench.figures import Round
from daiic.client import TaskClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

PROMPT = (
    "The harbour was quiet that morning, and the keeper of the lighthouse had time to write down "
    "what he saw. Three boats lay at the pier, two of them painted blue, the third without a name. "
    "A dog slept on a coil of rope. Far out, where the water turned from green to grey, a sail "
    "moved slowly towards the north, and he wondered who would travel in a season when every "
    "sensible captain stayed at home. He turned the page, dipped his pen again, and began a long "
    "account of all the ships that he had counted in forty years on the rock, from the first on:"
)
"""What every stream continues; after a number of its own, so that no cache has read it already."""
DIGITS = 9
ALONE = 3
"""How often a single stream asks: what a worker remembers of a model is mostly the last tasks."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked for at most: tokens an answer, streams at once, seconds a round."""

    tokens: int
    streams: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One stream's answer; times are seconds after it was asked for."""

    prompt_tokens: int
    tokens: int
    first: float
    last: float
    after_first: int

    @property
    def rate(self) -> float:
        """Tokens a second after the first part, 0 if all came at once."""
        seconds = self.last - self.first
        return self.after_first / seconds if seconds > 0 else 0.0


def sum_up(answers: Sequence[Answer], streams: int, seconds: float) -> Round:
    """Return what `streams` at a time got within `seconds`."""
    tokens = sum(answer.tokens for answer in answers)
    return Round(
        streams=streams,
        prompt_tokens=max(answer.prompt_tokens for answer in answers),
        tokens=tokens,
        total_rate=tokens / seconds,
        rate=statistics.median(answer.rate for answer in answers),
        first_token=statistics.median(answer.first for answer in answers),
        slowest_first_token=max(answer.first for answer in answers),
    )


def loads(most: int) -> list[int]:
    """Return the numbers of streams: the powers of two below `most`, `most`, and at last one.

    They grow, because what a model takes for its cache stays taken. The single stream comes last,
    so that the rate that the worker tells heads is that of one task.
    """
    powers = [1 << exponent for exponent in range(1, most.bit_length()) if 1 << exponent < most]
    return [*powers, most, 1] if most > 1 else [1]


async def warm_up(cluster: TaskClient, model: str, worker_id: str, load: Load) -> None:
    """Let a worker that has loaded `model` answer once, which is slower than later.

    Raises:
        TaskError: if it does not.
    """
    await _ask(cluster, model, worker_id, load.tokens, load.deadline)


async def run_round(
    cluster: TaskClient, model: str, worker_id: str, streams: int, load: Load
) -> Round:
    """Ask `streams` times at once, or a single stream `ALONE` times in turn.

    Raises:
        TaskError: if one of the answers fails; the others are cancelled.
    """
    began = time.perf_counter()
    answers = []
    if streams == 1:
        for _ in range(ALONE):
            answers.append(await _ask(cluster, model, worker_id, load.tokens, load.deadline))
    else:
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(_ask(cluster, model, worker_id, load.tokens, load.deadline))
                    for _ in range(streams)
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        answers = [task.result() for task in asked]
    return sum_up(answers, streams, time.perf_counter() - began)


async def _ask(
    cluster: TaskClient, model: str, worker_id: str, tokens: int, deadline: float
) -> Answer:
    number = str(secrets.randbelow(9 * 10 ** (DIGITS - 1)) + 10 ** (DIGITS - 1))
    text = pb.TextTask(prompt=f"{number}. {PROMPT}", max_tokens=tokens, temperature=0.0)
    task = pb.Task(
        model=model,
        worker_id=worker_id,
        stream=True,
        deadline_ms=round(deadline * 1000),
        text=text,
    )
    began = time.perf_counter()
    first = last = 0.0
    made = of_first = 0
    async with contextlib.aclosing(cluster.run(task)) as parts:
        async for part in parts:
            if part.started_over:
                made, first = 0, 0.0
            if part.tokens:
                last = time.perf_counter() - began
                if not first:
                    first, of_first = last, len(part.tokens)
                made += len(part.tokens)
    if not made:
        raise TaskError(
            pb.INTERNAL,
            "the model ended its answer before the first token",
            "measure with another model: this one does not continue a text",
        )
    return Answer(part.usage.prompt_tokens, made, first, last, made - of_first)
