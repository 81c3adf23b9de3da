"""Which files of a Hugging Face repository a model needs: no pickles, nothing twice.

Repositories often hold the same weights several times: other formats, other
precisions (`NAME.fp16.safetensors`), whole checkpoints beside a pipeline's parts.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.checkpoint_files import PICKLED, SUFFIX, unsafe_weights

_TEXTS = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_SHARD_NUMBER = re.compile(r"-\d+-of-\d+$")
VARIANTS = ("", "fp16", "bf16")
"""Precisions, the one taken first; the empty one is what a repository calls the model itself."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Names within the repository."""

    texts: list[str]
    weights: list[str]


def choose_files(name: str, files: Iterable[str]) -> ModelFiles:
    """Return which of `files` the model `name` needs.

    Raises:
        TaskError: UNSAFE_WEIGHTS if all weights are pickled, BAD_REQUEST if
            there are none or the repository is not a model's.
    """
    # Their names are as the repository's owner wishes.
    paths = [PurePosixPath(file) for file in files if file.isprintable()]
    paths = [
        path
        for path in paths
        if len(path.parts) in (1, 2) and not any(part.startswith((".", "/")) for part in path.parts)
    ]
    top = {path.name for path in paths if len(path.parts) == 1}
    is_pipeline = "model_index.json" in top
    by_folder: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        if path.suffix == SUFFIX:
            by_folder[path.parent].append(path)
    root = PurePosixPath()
    if is_pipeline:
        by_folder.pop(root, None)
    elif "modules.json" not in top:
        by_folder = defaultdict(list, {root: by_folder.get(root, [])})
    weights = [path for folder in by_folder.values() for path in _one_variant(folder)]
    if not weights or not (is_pipeline or "config.json" in top):
        pickled = [path.name for path in paths if path.suffix in PICKLED]
        if pickled and not weights:
            raise unsafe_weights(name, pickled)
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} on Hugging Face is not a model that workers can run: it lacks "
            + ("a config.json or model_index.json" if weights else f"{SUFFIX} weights"),
            "choose a repository in the format of transformers or diffusers",
        )
    folders = {path.parent for path in paths} if is_pipeline or "modules.json" in top else {root}
    texts = [path for path in paths if path.suffix in _TEXTS and path.parent in folders]
    return ModelFiles(sorted(map(str, texts)), sorted(map(str, weights)))


def _one_variant(files: list[PurePosixPath]) -> list[PurePosixPath]:
    """Return the files of one folder that together are its weights, in one precision."""
    variants: dict[str, list[PurePosixPath]] = defaultdict(list)
    for file in files:
        stem, _, variant = _SHARD_NUMBER.sub("", file.stem).partition(".")
        if stem.startswith(("consolidated", "adapter", "training")):
            continue
        variants[_SHARD_NUMBER.sub("", variant)].append(file)
    chosen = next((variants[v] for v in VARIANTS if v in variants), [])
    whole = [file for file in chosen if not _SHARD_NUMBER.search(file.stem)]
    return whole[:1] if whole and len(whole) < len(chosen) else chosen
