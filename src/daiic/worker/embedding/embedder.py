"""Answering embed tasks with a transformers model."""

import asyncio
import copy
from typing import Any

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.embedding.recipe import Pooling, Recipe

BATCH = 16
"""Inputs in one forward pass."""

ENDLESS = 1 << 20
"""Tokenizers without a limit of their own name a far larger number."""


class Embedder:
    """Makes one vector of each input; `model` gives hidden states, not logits."""

    def __init__(self, model: Any, tokenizer: Any, recipe: Recipe) -> None:
        self._model = model
        # Padding is a state of the tokenizer, which others may use meanwhile.
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.padding_side = "right"
        self._tokenizer.truncation_side = "right"
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._recipe = recipe
        limits = (
            recipe.max_tokens,
            tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", None),
        )
        self._max_tokens = min((n for n in limits if n is not None and n < ENDLESS), default=None)
        self._one_batch = asyncio.Lock()

    async def answer(self, task: pb.Task) -> pb.Result:
        """Return the only part of the answer to an embed task; inputs are cut to fit the model.

        Raises:
            TaskError: BAD_REQUEST if there is nothing to embed.
        """
        inputs = list(task.embed.inputs)
        if not inputs:
            raise TaskError(pb.BAD_REQUEST, "`inputs` is empty", "send at least one text")
        order = sorted(range(len(inputs)), key=lambda number: len(inputs[number]))
        embeddings = [pb.Embedding() for _ in inputs]
        tokens = 0
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            async with self._one_batch:
                vectors, counts = await asyncio.to_thread(
                    self._embed, [inputs[number] for number in numbers]
                )
            for number, vector, count in zip(numbers, vectors, counts, strict=True):
                if not count:
                    raise TaskError(pb.BAD_REQUEST, f"`inputs[{number}]` is empty", "leave it out")
                embeddings[number].values.extend(vector)
                tokens += count
        return pb.Result(final=True, embeddings=embeddings, usage=pb.Usage(prompt_tokens=tokens))

    @torch.inference_mode()
    def _embed(self, inputs: list[str]) -> tuple[list[list[float]], list[int]]:
        """Return the vector and the number of tokens of each input."""
        batch = self._tokenizer(
            inputs,
            padding=True,
            truncation=self._max_tokens is not None,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        counts = batch.attention_mask.sum(-1).tolist()
        if not batch.input_ids.shape[1]:
            return [[] for _ in inputs], counts
        extra = {} if "use_cache" not in self._model.config else {"use_cache": False}
        states = self._model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, **extra
        ).last_hidden_state
        vectors = pool(states.float(), batch.attention_mask, self._recipe.pooling)
        if self._recipe.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors.tolist(), counts


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Return vectors [inputs, width] of `states` [inputs, tokens, width], padded at the right."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        last = mask.sum(-1) - 1
        return states[torch.arange(len(states), device=states.device), last]
    if pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
