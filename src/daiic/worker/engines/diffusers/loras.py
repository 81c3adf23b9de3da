"""The adapters (LoRA) of a pipeline: in memory beside its weights, and at work for one task."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.errors import is_out_of_memory
from daiic.worker.models.adapters import adapters_beside

Scales = Mapping[str, float]
"""Of adapters, by their names."""

log = structlog.get_logger()


class Loras:
    """Those of `pipeline`; peft calls them by numbers, because it takes no dots in names.

    `unusable` says what is wrong with those that are beside the model all the same.
    """

    def __init__(
        self, pipeline: Any, numbers: Mapping[str, str], unusable: Mapping[str, str]
    ) -> None:
        self.names = tuple(sorted(numbers))
        self.unusable = unusable
        self._pipeline = pipeline
        self._numbers = numbers

    def apply(self, scales: Scales) -> None:
        """Have the pipeline draw with these adapters and no others, until this is called again."""
        if not self._numbers:
            return
        if not scales:
            self._pipeline.disable_lora()
            return
        self._pipeline.enable_lora()
        self._pipeline.set_adapters([self._numbers[name] for name in scales], list(scales.values()))


def load_loras(pipeline: Any, path: Path, dtype: torch.dtype) -> Loras:
    """Load the adapters beside the model at `path` into `pipeline`, which was loaded from it.

    Those that cannot be used are left out, and the log says why.
    """
    numbers: dict[str, str] = {}
    unusable: dict[str, str] = {}
    for name, file in adapters_beside(path, pb.IMAGE).items():
        number = f"lora{len(numbers)}"
        try:
            # Not by its path: what a file says of itself besides its weights may name code.
            weights = {key: tensor.to(dtype) for key, tensor in load_file(file).items()}
            pipeline.load_lora_weights(weights, adapter_name=number)
            reason = "" if _has(pipeline, number) else "none of its weights is for this model"
        except Exception as error:
            # Which errors files of other models lead to is up to peft and torch.
            if is_out_of_memory(error):
                raise
            reason = _first_line(error)
        if not reason:
            numbers[name] = number
            continue
        unusable[name] = f"the adapter {name} cannot be used: {reason}"
        log.warning("an adapter cannot be used", model=path.name, adapter=name, reason=reason)
        with contextlib.suppress(Exception):
            pipeline.delete_adapters(number)
    loras = Loras(pipeline, numbers, unusable)
    loras.apply({})
    return loras


def _has(pipeline: Any, number: str) -> bool:
    return any(number in numbers for numbers in pipeline.get_list_adapters().values())


def _first_line(error: Exception) -> str:
    if isinstance(error, (SafetensorError, OSError)):
        return "it is not a whole .safetensors file"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
