"""Answering rerank tasks with a transformers model that reads query and document together."""

import asyncio
import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.text.checks import check_ranking
from daiic.worker.engines.torch.text_batches import LONGEST, batches, most_tokens, pieces
from daiic.worker.engines.transformers_reranking.recipe import Recipe

GROUP = 256
"""Documents that are tokens at once: with each of them the query is."""

Pair = dict[str, list[int]]
"""Query and document as the model's inputs: "input_ids" and maybe "token_type_ids"."""


class Reranker:
    """Scores documents; `model` gives one number for a pair of texts.

    A query has at most half of the tokens that the model reads, and a document
    what is left; what is longer is cut at its end.
    """

    def __init__(self, model: Any, tokenizer: Any, recipe: Recipe) -> None:
        self._model = model
        # Truncation is a state of the tokenizer, which others may use meanwhile.
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.truncation_side = "right"
        self._padding = tokenizer.pad_token_id or 0
        if model.config.get_text_config().pad_token_id is None:
            # Decoders find the last token of a text by what is not padding.
            model.config.get_text_config().pad_token_id = self._padding
        self._recipe = recipe
        self._max_tokens = most_tokens(model.base_model, tokenizer, recipe.max_tokens)
        self._one_batch = asyncio.Lock()
        self._thread = OneThread("tokens")

    async def answer(self, task: pb.Task, moved: Callable[[], None] = lambda: None) -> pb.Result:
        """Return the only part of the answer to a rerank task: the scores, in the documents' order.

        `moved` is called after each batch.

        Raises:
            TaskError: BAD_REQUEST without a query or documents, or with too many of those.
        """
        query, documents = task.rerank.query, list(task.rerank.documents)
        check_ranking(task.rerank)
        query = await self._thread.do(partial(self._cut_query, query))
        scores: list[float] = []
        read = 0
        for start in range(0, len(documents), GROUP):
            pairs: list[Pair] = []
            group = [self._cut(text) for text in documents[start : start + GROUP]]
            for some in pieces(group, beside=len(query)):
                pairs += await self._thread.do(partial(self._pairs_of, query, some))
            read += sum(len(pair["input_ids"]) for pair in pairs)
            found = [0.0] * len(pairs)
            for numbers in batches([len(pair["input_ids"]) for pair in pairs]):
                async with self._one_batch:
                    batch = await asyncio.to_thread(self._score, [pairs[n] for n in numbers])
                moved()
                for number, score in zip(numbers, batch, strict=True):
                    found[number] = score
            scores += found
        return pb.Result(final=True, scores=scores, usage=pb.Usage(prompt_tokens=read))

    def stop(self) -> None:
        """End its thread."""
        self._thread.stop()

    def _cut(self, text: str) -> str:
        """Return as much of `text` as can matter: tokens beyond those that fit are left out."""
        return text if self._max_tokens is None else text[: self._max_tokens * LONGEST]

    def _cut_query(self, query: str) -> str:
        """Return `query`, or as much of it as has half of the tokens that the model reads."""
        if self._max_tokens is None:
            return query
        query = self._cut(query)
        encoded = self._tokenizer(query, add_special_tokens=False, return_offsets_mapping=True)
        most = max(self._max_tokens // 2, 1)
        if len(encoded.input_ids) <= most:
            return query
        return query[: encoded.offset_mapping[most - 1][1]]

    def _pairs_of(self, query: str, documents: list[str]) -> list[Pair]:
        encoded = self._tokenizer(
            [query] * len(documents),
            documents,
            truncation="only_second" if self._max_tokens is not None else False,
            max_length=self._max_tokens,
        )
        wanted = [name for name in ("input_ids", "token_type_ids") if name in encoded]
        return [{name: encoded[name][n] for name in wanted} for n in range(len(documents))]

    @torch.inference_mode()
    def _score(self, pairs: Sequence[Pair]) -> list[float]:
        def padded(name: str, padding: int) -> torch.Tensor:
            rows = [torch.tensor(pair[name]) for pair in pairs]
            return pad_sequence(rows, batch_first=True, padding_value=padding).to(device)

        device = self._model.device
        inputs = {"input_ids": padded("input_ids", self._padding)}
        if "token_type_ids" in pairs[0]:
            inputs["token_type_ids"] = padded("token_type_ids", 0)
        lengths = torch.tensor([len(pair["input_ids"]) for pair in pairs], device=device)
        places = torch.arange(inputs["input_ids"].shape[1], device=device)
        inputs["attention_mask"] = (places < lengths[:, None]).long()
        extra = {} if "use_cache" not in self._model.config else {"use_cache": False}
        logits = self._model(**inputs, **extra).logits
        scores: list[float] = self._recipe.activation(logits[:, 0].float()).tolist()
        return scores
