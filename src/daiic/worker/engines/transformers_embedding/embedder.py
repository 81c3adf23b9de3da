"""Answering embed tasks with a transformers model."""

import asyncio
import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.text_batches import LONGEST, batches, most_tokens, pieces
from daiic.worker.engines.transformers_embedding.recipe import Pooling, Recipe

Step = Callable[[torch.Tensor], torch.Tensor]
"""Something done with pooled vectors [inputs, width]."""


def unit_length(vectors: torch.Tensor) -> torch.Tensor:
    """Return `vectors` [inputs, width] scaled to length 1."""
    return torch.nn.functional.normalize(vectors, dim=-1)


class Embedder:
    """Makes one vector of each input; `model` gives hidden states, not logits.

    `after` is done with what `recipe` pools, and gives vectors of `width` numbers.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        recipe: Recipe,
        after: Sequence[Step] = (unit_length,),
        width: int | None = None,
    ) -> None:
        self._model = model
        # Truncation is a state of the tokenizer, which others may use meanwhile.
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.truncation_side = "right"
        self._padding = tokenizer.pad_token_id or 0
        self._recipe = recipe
        self._after = after
        self._width = width or model.config.get_text_config().hidden_size
        self._max_tokens = most_tokens(model, tokenizer, recipe.max_tokens)
        self._one_batch = asyncio.Lock()
        self._thread = OneThread("tokens")

    async def answer(self, task: pb.Task, moved: Callable[[], None] = lambda: None) -> pb.Result:
        """Return the only part of the answer to an embed task; inputs are cut to fit the model.

        `moved` is called after each batch.

        Raises:
            TaskError: BAD_REQUEST if there is nothing to embed, or not in the way that is asked.
        """
        embed = task.embed
        self._recipe.dimensions.check(embed.dimensions, self._width)
        tokens, unpooled = await self._tokens_in(embed)
        for number, ids in enumerate(tokens):
            if not ids:
                raise TaskError(pb.BAD_REQUEST, f"`inputs[{number}]` is empty", "leave it out")
        embeddings = [pb.Embedding() for _ in tokens]
        for numbers in batches([len(ids) for ids in tokens]):
            batch = [tokens[n] for n in numbers]
            async with self._one_batch:
                vectors = await asyncio.to_thread(self._embed, batch, unpooled, embed.dimensions)
            moved()
            for number, vector in zip(numbers, vectors, strict=True):
                embeddings[number].values.extend(vector)
        used = pb.Usage(prompt_tokens=sum(map(len, tokens)))
        return pb.Result(final=True, embeddings=embeddings, usage=used)

    async def _tokens_in(self, embed: pb.EmbedTask) -> tuple[list[list[int]], int]:
        """Return the tokens of all inputs, and how many at their beginning do not count."""
        if embed.token_inputs:
            return self._checked(embed), 0
        inputs = list(embed.inputs)
        if not inputs:
            raise TaskError(pb.BAD_REQUEST, "`inputs` is empty", "send at least one text")
        prompt = self._recipe.prompts.named(embed.prompt_name)
        unpooled = 0
        if prompt and not self._recipe.pools_prompt:
            unpooled = await self._thread.do(partial(self._length_of, prompt))
        tokens: list[list[int]] = []
        for some in pieces([self._cut(text) for text in inputs], beside=len(prompt)):
            tokens += await self._thread.do(partial(self._tokens_of, some, prompt))
        return tokens, unpooled

    def _checked(self, embed: pb.EmbedTask) -> list[list[int]]:
        """Return the inputs that are tokens already, cut to fit the model."""
        if embed.inputs or embed.prompt_name:
            raise TaskError(
                pb.BAD_REQUEST,
                "`token_inputs` are taken as they are",
                "leave out `inputs` and `prompt_name`, or send texts",
            )
        vocabulary = self._model.config.get_text_config().vocab_size
        for number, given in enumerate(embed.token_inputs):
            if max(given.tokens, default=0) >= vocabulary:
                raise TaskError(
                    pb.BAD_REQUEST,
                    f"`token_inputs[{number}]` has tokens that the model does not have: there are "
                    f"{vocabulary}",
                    "send texts, or the tokens of this model's own tokenizer",
                )
        return [list(given.tokens[: self._max_tokens]) for given in embed.token_inputs]

    def stop(self) -> None:
        """End its thread."""
        self._thread.stop()

    def _cut(self, text: str) -> str:
        """Return as much of `text` as can matter: tokens beyond those that fit are left out."""
        return text if self._max_tokens is None else text[: self._max_tokens * LONGEST]

    def _tokens_of(self, inputs: list[str], prompt: str) -> list[list[int]]:
        encoded: list[list[int]] = self._tokenizer(
            [prompt + text for text in inputs],
            truncation=self._max_tokens is not None,
            max_length=self._max_tokens,
        ).input_ids
        return encoded

    def _length_of(self, prompt: str) -> int:
        """How many tokens come from `prompt` or before it."""
        ids = self._tokens_of([""], prompt)[0]
        ends = bool(ids) and ids[-1] in self._tokenizer.all_special_ids
        return len(ids) - ends

    @torch.inference_mode()
    def _embed(self, inputs: list[list[int]], unpooled: int, dimensions: int) -> list[list[float]]:
        """Return the vectors of inputs that are tokens, of which the first `unpooled` do not count.

        `dimensions` is as the task has it.
        """
        rows = [torch.tensor(ids) for ids in inputs]
        ids = pad_sequence(rows, batch_first=True, padding_value=self._padding)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        extra = {} if "use_cache" not in self._model.config else {"use_cache": False}
        states = self._model(input_ids=ids, attention_mask=mask, **extra).last_hidden_state
        mask[:, :unpooled] = 0
        vectors = pool(states.float(), mask, self._recipe.pooling)
        for step in self._after:
            vectors = step(vectors)
        vectors = self._recipe.dimensions.cut(vectors, dimensions)
        values: list[list[float]] = vectors.tolist()
        return values


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
