"""The options that shape generated text, the same for `chat` and `generate`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer

from daiic.cli.connection import Chosen
from daiic.wire import daiic_pb2 as pb

TemperatureOption = Annotated[
    float | None, typer.Option(min=0.0, help="Randomness; 0 always takes the likeliest token.")
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        "--top-p", min=0.0, max=1.0, help="Sample from the likeliest tokens that add up to this."
    ),
]
MOST = 2**32 - 1
"""The largest count that a task can carry."""
MOST_SEED = 2**64 - 1

TopKOption = Annotated[
    int | None,
    typer.Option("--top-k", min=0, max=MOST, help="Sample from this many of the likeliest tokens."),
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same text.")
]
MaxTokensOption = Annotated[
    int,
    typer.Option(
        "--max-tokens", min=0, max=MOST, help="Most tokens to generate; 0 for the model's default."
    ),
]
StopOption = Annotated[
    list[str] | None, typer.Option("--stop", help="Stop before this text; may be repeated.")
]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Options as given; `None` leaves the choice to the model."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int = 0
    stop: list[str] = field(default_factory=list)

    def task(
        self,
        chosen: Chosen,
        tags: Sequence[str],
        *,
        prompt: str = "",
        messages: list[pb.ChatMessage] | None = None,
    ) -> pb.Task:
        """Return a streamed text task with these options for a model, on workers with `tags`."""
        text = pb.TextTask(
            prompt=prompt,
            messages=messages or [],
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            stop=self.stop,
        )
        return chosen.task(tags, stream=True, text=text)
