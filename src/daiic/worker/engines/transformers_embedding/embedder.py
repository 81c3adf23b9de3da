"""Answering embed tasks with a transformers model."""

import asyncio
import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.tokenizer import PIECE
from daiic.worker.engines.transformers_embedding.recipe import Pooling, Recipe

BATCH = 16
"""Inputs in one forward pass, at most."""
BATCH_TOKENS = 8192
"""Of one forward pass with several inputs, padding included: attention takes memory by the square
of the longest."""
LONGEST = 16
"""Characters that the tokens of a text have on average at most."""
ENDLESS = 1 << 20
"""Tokenizers without a limit of their own name a far larger number."""

Step = Callable[[torch.Tensor], torch.Tensor]
"""Something done with pooled vectors [inputs, width]."""


def unit_length(vectors: torch.Tensor) -> torch.Tensor:
    """Return `vectors` [inputs, width] scaled to length 1."""
    return torch.nn.functional.normalize(vectors, dim=-1)


class Embedder:
    """Makes one vector of each input; `model` gives hidden states, not logits.

    `after` is done with what `recipe` pools.
    """

    def __init__(
        self, model: Any, tokenizer: Any, recipe: Recipe, after: Sequence[Step] = (unit_length,)
    ) -> None:
        self._model = model
        # Truncation is a state of the tokenizer, which others may use meanwhile.
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.truncation_side = "right"
        self._padding = tokenizer.pad_token_id or 0
        self._recipe = recipe
        self._after = after
        limits = (recipe.max_tokens, tokenizer.model_max_length, _positions(model))
        self._max_tokens = min((n for n in limits if n is not None and n < ENDLESS), default=None)
        self._unpooled = 0 if recipe.pools_prompt else self._length_of(recipe.prompt)
        self._one_batch = asyncio.Lock()
        self._thread = OneThread("tokens")

    async def answer(self, task: pb.Task, moved: Callable[[], None] = lambda: None) -> pb.Result:
        """Return the only part of the answer to an embed task; inputs are cut to fit the model.

        `moved` is called after each batch.

        Raises:
            TaskError: BAD_REQUEST if there is nothing to embed.
        """
        inputs = list(task.embed.inputs)
        if not inputs:
            raise TaskError(pb.BAD_REQUEST, "`inputs` is empty", "send at least one text")
        tokens: list[list[int]] = []
        for some in _pieces([self._cut(text) for text in inputs]):
            tokens += await asyncio.wrap_future(self._thread.submit(partial(self._tokens_of, some)))
        for number, ids in enumerate(tokens):
            if not ids:
                raise TaskError(pb.BAD_REQUEST, f"`inputs[{number}]` is empty", "leave it out")
        embeddings = [pb.Embedding() for _ in inputs]
        for numbers in batches([len(ids) for ids in tokens]):
            async with self._one_batch:
                vectors = await asyncio.to_thread(self._embed, [tokens[n] for n in numbers])
            moved()
            for number, vector in zip(numbers, vectors, strict=True):
                embeddings[number].values.extend(vector)
        used = pb.Usage(prompt_tokens=sum(map(len, tokens)))
        return pb.Result(final=True, embeddings=embeddings, usage=used)

    def stop(self) -> None:
        """End its thread."""
        self._thread.stop()

    def _cut(self, text: str) -> str:
        """Return as much of `text` as can matter: tokens beyond those that fit are left out."""
        return text if self._max_tokens is None else text[: self._max_tokens * LONGEST]

    def _tokens_of(self, inputs: list[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._tokenizer(
            [self._recipe.prompt + text for text in inputs],
            truncation=self._max_tokens is not None,
            max_length=self._max_tokens,
        ).input_ids
        return encoded

    def _length_of(self, prompt: str) -> int:
        """How many tokens come from `prompt` or before it."""
        ids = self._tokens_of([""])[0] if prompt else []  # which puts the prompt before it
        ends = bool(ids) and ids[-1] in self._tokenizer.all_special_ids
        return len(ids) - ends

    @torch.inference_mode()
    def _embed(self, inputs: list[list[int]]) -> list[list[float]]:
        """Return the vectors of inputs that are tokens."""
        rows = [torch.tensor(ids) for ids in inputs]
        ids = pad_sequence(rows, batch_first=True, padding_value=self._padding)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        extra = {} if "use_cache" not in self._model.config else {"use_cache": False}
        states = self._model(input_ids=ids, attention_mask=mask, **extra).last_hidden_state
        mask[:, : self._unpooled] = 0
        vectors = pool(states.float(), mask, self._recipe.pooling)
        for step in self._after:
            vectors = step(vectors)
        values: list[list[float]] = vectors.tolist()
        return values


def _pieces(inputs: list[str]) -> Iterator[list[str]]:
    """Yield `inputs` in groups of no more than PIECE characters, or of one."""
    group: list[str] = []
    size = 0
    for text in inputs:
        if group and size + len(text) > PIECE:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    yield group


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of inputs with `lengths` that go together, the short ones first."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = len(batch) == BATCH or (len(batch) + 1) * lengths[number] > BATCH_TOKENS
        if batch and full:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Return vectors [inputs, width] of `states` [inputs, tokens, width] where `mask` is 1.

    Padding is at the right. The first token counts for "cls" whatever `mask` says of it.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        places = torch.arange(mask.shape[1], device=states.device)
        last = (mask * places).argmax(1)
        return states[torch.arange(len(states), device=states.device), last]
    if pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def _positions(model: Any) -> int | None:
    """The most tokens for which `model` has positions."""
    most: int | None = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding: int | None = getattr(table, "padding_idx", None)
    if most is None or padding is None:
        return most
    return most - padding - 1  # RoBERTa's kind counts positions from after that of padding
