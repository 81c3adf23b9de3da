"""Whether a model can be computed in slices, in how many, and what memory each takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd, prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from daiic.errors import TaskError
from daiic.worker.backend import Backend
from daiic.worker.engines.torch.footprint import with_work
from daiic.worker.engines.torch.quantization import compute_dtype
from daiic.worker.engines.torch.weights_plan import WEIGHTS_SHARE, count, files_of
from daiic.worker.models.model_json import read_object

STYLES = frozenset({"colwise", "rowwise", "colwise_gather_output", "embedding_rowwise"})
"""Of plans: what divides weights among ranks in a way that only needs as many heads for each."""
WHOLE = frozenset({"replicated_with_grad_allreduce"})
"""What leaves them whole. Mixtures of experts have others."""
KNOWN = 1024
"""Models of which that is remembered."""
RANK = 384 << 20
"""Bytes that a rank takes besides weights: libraries, buffers, a small cache."""


@dataclass(frozen=True, slots=True)
class Division:
    """Bytes of weights that are `divided`, those that `each` rank has whole, and all that one
    worker needs `alone`. The number of ranks divides `most`."""

    divided: int
    each: int
    alone: int
    most: int

    @property
    def divided_with_work(self) -> int:
        """Bytes that all ranks together need for what is divided."""
        return self.divided + self.divided // 4

    @property
    def each_with_work(self) -> int:
        """Bytes that each needs beside its part of those."""
        return self.each + self.each // 4 + RANK

    def of_one(self, ranks: int) -> int:
        """Return the bytes that one of so many ranks needs."""
        return self.each_with_work + -(-self.divided_with_work // ranks)


def slice_dtype(backend: Backend, precision: str) -> torch.dtype:
    """Return what slices are computed in; memory is short, so "auto" is bfloat16 on a CPU too."""
    return compute_dtype(backend, "bfloat16" if precision == "auto" else precision)


def division(path: Path, backend: Backend, quantization: str, precision: str) -> Division | None:
    """Return how the language model in the folder `path` is divided; reads headers of its files.

    `None` if transformers has no plan for its architecture, or it is quantised already.

    Raises:
        TaskError: if its weights cannot be used.
        OSError: if its files cannot be read.
    """
    config = read_object(path / "config.json") or {}
    plan = plan_of(config)
    most = _most(config)
    if not plan or most < 2 or "quantization_config" in config:
        return None
    dtype = slice_dtype(backend, precision)
    divided = whole = 0
    for file in files_of(path):
        with safe_open(file, framework="pt") as checkpoint:
            for name in checkpoint.keys():  # noqa: SIM118 - it is no mapping
                numbers = prod(checkpoint.get_slice(name).get_shape())
                if is_divided(name, plan):
                    divided += numbers
                else:
                    whole += numbers
    least = "4bit" if quantization == "auto" else quantization
    weights = count(files_of(path)).bytes(dtype, least)
    alone = max(with_work(weights), int(weights / WEIGHTS_SHARE))
    return Division(divided * dtype.itemsize, whole * dtype.itemsize, alone, most)


class Divisions:
    """What was found out of models, until their files change."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Division | None] = {}

    def of(
        self, path: Path, backend: Backend, quantization: str, precision: str
    ) -> Division | None:
        """Return `division` of the same, `None` also for a model that cannot be used."""
        try:
            files = sorted((file.name, file.stat()) for file in path.iterdir())
            seen = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in files)
            key = (path, quantization, precision, seen)
            if key not in self._known:
                if len(self._known) >= KNOWN:
                    self._known.clear()
                self._known[key] = division(path, backend, quantization, precision)
            return self._known[key]
        except (OSError, TaskError, SafetensorError):
            return None  # loading it will say what is wrong


def plan_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return transformers' plan for the architecture of `config`, empty if there is none."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return {}
    config_class = CONFIG_MAPPING[kind]
    if config_class not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return {}
    base = getattr(config_class, "base_model_tp_plan", None)
    if not isinstance(base, dict) or not any(name.endswith(".k_proj") for name in base):
        return {}
    head = getattr(MODEL_FOR_CAUSAL_LM_MAPPING[config_class], "_tp_plan", None) or {}
    plan: dict[str, str] = base | head
    return plan if set(plan.values()) <= STYLES | WHOLE else {}


def is_divided(name: str, plan: Mapping[str, str]) -> bool:
    """Return whether the tensor `name` is divided among ranks by `plan`."""
    place = re.sub(r"\.\d+(?=\.)", ".*", name).rpartition(".")[0].removeprefix("model.")
    return plan.get(place) in STYLES


def _most(config: Mapping[str, Any]) -> int:
    """Return the number that ranks must divide: each has whole heads, and as wide layers."""
    heads = config.get("num_attention_heads")
    numbers = [heads, config.get("num_key_value_heads", heads), config.get("intermediate_size")]
    if not all(type(number) is int and 0 < number < 1 << 31 for number in numbers):
        return 1
    return gcd(*(number for number in numbers if number is not None))
