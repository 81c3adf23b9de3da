"""How a sentence embedding is made of a model's hidden states, as its publisher says.

Read from the files that sentence-transformers writes beside the weights:
modules.json, the pooling module's config.json, sentence_bert_config.json.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

Pooling = Literal["mean", "cls", "max", "lasttoken"]

_FLAGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which hidden states count, whether the result gets length 1, and the most tokens it knows."""

    pooling: Pooling = "mean"
    normalize: bool = True
    max_tokens: int | None = None


def read(path: Path) -> Recipe:
    """Return the recipe in the model directory `path`, or mean and length 1 if it has none.

    Raises:
        TaskError: BAD_REQUEST for steps that are none of pooling and normalising.
    """
    modules = _json(path / "modules.json")
    if modules is None:
        return Recipe()
    pooling: Pooling = "mean"
    normalize = False
    for module in modules:
        step = module["type"].rpartition(".")[2]
        if step == "Pooling":
            pooling = _pooling(path, _json(path / module["path"] / "config.json") or {})
        elif step == "Normalize":
            normalize = True
        elif step != "Transformer":
            raise _unknown(path, f'a step "{step}"')
    limits = _json(path / "sentence_bert_config.json") or {}
    return Recipe(pooling, normalize, limits.get("max_seq_length"))


def _pooling(path: Path, config: dict[str, Any]) -> Pooling:
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    if len(modes) != 1 or modes[0] not in _FLAGS:
        raise _unknown(path, f"pooling {' and '.join(modes) or 'that it does not name'}")
    return _FLAGS[modes[0]]


def _json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8")) if file.is_file() else None


def _unknown(path: Path, what: str) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST,
        f"{path.name} makes its embeddings with {what}, which is not supported",
        f"choose a model with one of the poolings {', '.join(_FLAGS.values())}",
    )
