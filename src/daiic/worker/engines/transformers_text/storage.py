"""How much memory the tensors of an object take, whatever it calls them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

DEPTH = 4
"""How far tensors may lie inside: caches have layers, and those have lists of states."""


def storage_bytes(*holders: Any) -> int:
    """Return the bytes of all tensors in the attributes of `holders`; views count once."""
    storages = {
        (storage := tensor.untyped_storage()).data_ptr(): storage.nbytes()
        for holder in holders
        for tensor in _tensors(vars(holder), DEPTH)
    }
    return sum(storages.values())


def _tensors(value: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth > 0:
        if isinstance(value, Mapping):
            value = value.values()
        elif "cache" in f"{type(value).__module__}.{type(value).__name__}".lower():
            value = vars(value).values()
        elif not isinstance(value, list | tuple):
            return
        for item in value:
            yield from _tensors(item, depth - 1)
