"""Texts of one length that advance together, as a batch with a cache of its own."""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestStatus

from daiic.worker.engines.transformers_text.adapters import PLAIN, Chain
from daiic.worker.engines.transformers_text.guide import Guide
from daiic.worker.engines.transformers_text.sampling import Sampling
from daiic.worker.engines.transformers_text.storage import storage_bytes
from daiic.worker.engines.transformers_vision.seen import Seen


@dataclass(slots=True, eq=False)
class Text:
    """One task, as `TextGenerator.submit` gets it, called `name` among others.

    `made` is only ever added to, so others may read it while it grows.
    """

    name: str
    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    end_tokens: frozenset[int]
    guide: Guide | None = None
    seen: Seen | None = None
    chain: Chain = PLAIN
    made: list[int] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether it has all its tokens."""
        return len(self.made) >= self.max_tokens or self.made[-1] in self.end_tokens

    def output(self, status: RequestStatus, error: str | None = None) -> GenerationOutput:
        """Return what is delivered of it."""
        return GenerationOutput(
            request_id=self.name,
            prompt_ids=[],
            generated_tokens=self.made,
            status=status,
            error=error,
        )


@dataclass(slots=True, eq=False)
class Rows:
    """A batch of texts of one length: `tokens` is [texts, length].

    `read` tokens of them are in the cache, which is among the arguments
    `state` that go from one step to the next.
    """

    tokens: torch.Tensor
    state: dict[str, Any]
    read: int = 0

    @property
    def cache(self) -> Any:
        """The model's own cache; `None` before the first step."""
        return next(
            (value for value in self.state.values() if hasattr(value, "reorder_cache")), None
        )

    def advance(self, model: Any, end: int) -> Any:
        """Read the tokens up to `end` into the cache; return what `model` makes of them."""
        # Without a cache, everything is read again for each token.
        new = end - self.read if self.cache is not None else None
        inputs = model.prepare_inputs_for_generation(
            self.tokens[:, :end],
            next_sequence_length=new,
            is_first_iteration=not self.read,
            **self.state,
        )
        outputs = model(**inputs, return_dict=True)
        self.state = model._update_model_kwargs_for_generation(outputs, self.state)
        self.read = end
        return outputs

    def select(self, rows: list[int]) -> None:
        """Go on with these `rows` alone."""
        index = torch.tensor(rows, device=self.tokens.device)
        self.tokens = self.tokens.index_select(0, index)
        if self.cache is not None:
            # Made to put beams in order, and every cache can do that; it may as well take fewer.
            self.cache.reorder_cache(index)


@dataclass(slots=True, eq=False)
class Group(Rows):
    """The rows of `texts`, whose cache takes so many `bytes`."""

    texts: list[Text] = field(default_factory=list)
    bytes: int = 0

    def measure(self) -> None:
        """Find out what the cache takes now."""
        self.bytes = storage_bytes(self.cache) if self.cache is not None else 0

    def keep(self, rows: list[int]) -> None:
        """Let all texts but those in `rows` leave, and the cache too."""
        if len(rows) == len(self.texts):
            return
        self.texts = [self.texts[row] for row in rows]
        if not rows:
            self.state, self.bytes = {}, 0
            return
        self.select(rows)
        if self.cache is not None:
            self.measure()
