"""Noise that depends on a seed alone, whatever else draws numbers in this process meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class SeededNoise(TorchFunctionMode):
    """While entered, this thread's `torch.randn` and `randn_like` draw from a generator of its own.

    They draw on the CPU, so that the same seed gives the same numbers on any device.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Give `func` its own way, unless it draws."""
        kwargs = dict(kwargs or {})
        if func is torch.randn_like:
            like = args[0]
            drawn = torch.empty(like.shape).normal_(generator=self._generator)
            return drawn.to(like.device, like.dtype)
        if func is torch.randn:
            device = kwargs.pop("device", None)
            drawn = func(*args, **{**kwargs, "generator": self._generator})
            return drawn.to(device) if device is not None else drawn
        return func(*args, **kwargs)
