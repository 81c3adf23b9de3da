"""How a score is made of what a cross-encoder gives, as its publisher says.

Read from config.json, and from config_sentence_transformers.json beside it, as
sentence-transformers does (sentence_transformers/cross_encoder/model.py): since
version 4 `sentence_transformers.activation_fn` in the former, before that
`sbert_ce_default_activation_function`, since version 5.4 `activation_fn` in the
latter. What names none gets a sigmoid.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.activations import activation
from daiic.worker.engines.torch.text_batches import published_limit
from daiic.worker.models.model_json import read_object, shown

_SIGMOID = "torch.nn.modules.activation.Sigmoid"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to a score, and the most tokens of a pair, `None` if the files name no limit."""

    activation: torch.nn.Module
    max_tokens: int | None = None


def read(path: Path) -> Recipe:
    """Return the recipe in the model directory `path`.

    Raises:
        TaskError: BAD_REQUEST for an activation that is not known, or files that are not valid.
    """
    config = read_object(path / "config.json") or {}
    beside = read_object(path / "config_sentence_transformers.json") or {}
    own = config.get("sentence_transformers")
    named = (
        beside.get("activation_fn"),
        own.get("activation_fn") if isinstance(own, dict) else None,
        config.get("sbert_ce_default_activation_function"),
        _SIGMOID,
    )
    wanted = next(one for one in named if one is not None)
    found = activation(wanted)
    if found is None:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} makes its scores with {shown(wanted)}, which is not supported",
            "choose a model whose scores get a sigmoid, or nothing",
        )
    return Recipe(found, published_limit(path))
