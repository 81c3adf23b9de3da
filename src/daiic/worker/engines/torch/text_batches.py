"""Texts that a model reads at once, without generating: which go together, and how many tokens."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from daiic.worker.engines.torch.tokenizer import PIECE
from daiic.worker.models.model_json import bad_file, read_object

BATCH = 16
"""Inputs in one forward pass, at most."""
BATCH_TOKENS = 8192
"""Of one forward pass with several inputs, padding included: attention takes memory by the square
of the longest."""
LONGEST = 16
"""Characters that the tokens of a text have on average at most."""
ENDLESS = 1 << 20
"""Tokenizers without a limit of their own name a far larger number."""


def most_tokens(model: Any, tokenizer: Any, *limits: int | None) -> int | None:
    """Return the most tokens that `model` reads at once, `None` if nothing says.

    `limits` are those that the model's files name besides.
    """
    known = (*limits, tokenizer.model_max_length, _positions(model))
    return min((n for n in known if n is not None and n < ENDLESS), default=None)


def published_limit(path: Path) -> int | None:
    """Return the most tokens that sentence-transformers' file in the directory `path` names.

    Raises:
        TaskError: BAD_REQUEST if the file is not valid.
    """
    file = path / "sentence_bert_config.json"
    longest = (read_object(file) or {}).get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or longest < 1):
        raise bad_file(file, "has no usable max_seq_length")
    return longest


def _positions(model: Any) -> int | None:
    """The most tokens for which `model` has positions."""
    most: int | None = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding: int | None = getattr(table, "padding_idx", None)
    if most is None or padding is None:
        return most
    return most - padding - 1  # RoBERTa's kind counts positions from after that of padding


def pieces(texts: Sequence[str], beside: int = 0) -> Iterator[list[str]]:
    """Yield `texts` in groups of no more than PIECE characters, or of one.

    Each counts `beside` characters more, of what goes with it.
    """
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) + beside > PIECE:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text) + beside
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
