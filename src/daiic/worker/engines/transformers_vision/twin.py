"""A second model of the same weights, for texts with images beside those in a batch.

A batch sets the attention of its model, and some models keep where they are in a text as they see
images. Modules and configurations are copied, tensors are not.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch


def twin(model: Any) -> Any:
    """Return a copy of `model` that has the same tensors."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in _tensors(model)})


def _tensors(model: Any) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor):
                yield value
            elif type(value).__module__.startswith("bitsandbytes"):
                # Where quantised matrices keep what they were quantised to.
                yield from (t for t in vars(value).values() if isinstance(t, torch.Tensor))
