"""Which models there are on this machine, and what a task's model name means.

A name is that of a file or folder in the models folder, or a Hugging Face id,
"owner/name". Nothing outside the models folder and the download cache is ever
read, whatever a name or a symbolic link says.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CacheNotFound, scan_cache_dir
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.checkpoint_files import (
    SUFFIX,
    all_there,
    pickled_files,
    unsafe_weights,
    weight_files,
)
from daiic.worker.kinds import is_model, kind_of

SHOWN = 12
"""Models that an error names at most."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model on this machine's disk."""

    name: str
    path: Path
    kind: pb.ModelKind


class Catalog:
    """The models in `models_dir` and those downloaded into `cache_dir`.

    Its methods read the disk and so belong into a thread.
    """

    def __init__(self, models_dir: Path, cache_dir: Path | None) -> None:
        """`cache_dir` is `None` for Hugging Face's own."""
        self._models_dir = models_dir.expanduser()
        self._cache_dir = cache_dir.expanduser() if cache_dir else None

    def scan(self) -> list[Model]:
        """Return every model that can be loaded without a download, by name."""
        found = {model.name: model for model in (*self._downloaded(), *self._local())}
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> Model | None:
        """Return what `name` means; `None` for a Hugging Face id that is not in `models_dir`.

        Raises:
            TaskError: BAD_REQUEST for a name that is neither, or leads out of
                the models folder, or means no model that can run;
                UNSAFE_WEIGHTS for pickled weights; MODEL_NOT_FOUND, with what
                there is, otherwise.
        """
        check_name(name)
        path = self._models_dir / name
        try:
            exists = path.exists()
            inside = exists and path.resolve().is_relative_to(self._models_dir.resolve())
        except (OSError, RuntimeError):  # too long a name, a loop of links
            exists, inside = False, False
        if exists and not inside:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{name} is a link that leads out of the models folder",
                "put the model itself into the models folder, or set models_dir to where it is",
            )
        if exists and is_model(path):
            return self.model_at(path, name, within=self._models_dir)
        if exists and pickled_files(path):
            raise unsafe_weights(name, (file.name for file in pickled_files(path)))
        if names_repository(name):
            return None
        raise self._not_found(name)

    def downloaded(self, name: str) -> Model | None:
        """Return the model with the Hugging Face id `name` if all of it is in the cache."""
        return next((model for model in self._downloaded() if model.name == name), None)

    def model_at(self, path: Path, name: str, within: Path) -> Model:
        """Return the model `name` in the folder or file `path`, if it may be loaded.

        Raises:
            TaskError: as `find`.
        """
        root = within.resolve()
        weights = weight_files(path)
        for file in weights:
            if not file.resolve().is_relative_to(root):
                raise TaskError(
                    pb.BAD_REQUEST,
                    f"{name} has weights that are links out of its folder ({file.name})",
                    "put the files themselves into the models folder",
                )
        if not weights:
            pickled = [file.name for file in pickled_files(path)]
            if pickled:
                raise unsafe_weights(name, pickled)
            raise TaskError(
                pb.MODEL_NOT_FOUND,
                f"{name} has no weights",
                f"put its {SUFFIX} files beside its config",
            )
        return Model(name, path, kind_of(path))

    def _local(self) -> Iterator[Model]:
        for path in _entries(self._models_dir):
            within = [path] if is_model(path) else _entries(path)
            for place in within:
                try:
                    model = self.find(str(place.relative_to(self._models_dir)))
                except (TaskError, OSError):
                    continue  # `find` says why when a task asks for it
                if model is not None:
                    yield model

    def _downloaded(self) -> Iterator[Model]:
        try:
            cache = scan_cache_dir(self._cache_dir)
        except (CacheNotFound, ValueError):
            return
        for repository in cache.repos:
            revisions = sorted(
                repository.revisions, key=lambda r: ("main" in r.refs, r.last_modified)
            )
            if repository.repo_type != "model" or not revisions:
                continue
            path = revisions[-1].snapshot_path
            try:
                if is_model(path) and all_there(path):
                    yield self.model_at(path, repository.repo_id, within=repository.repo_path)
            except (TaskError, OSError):
                continue

    def _not_found(self, name: str) -> TaskError:
        names = [model.name for model in self.scan()]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        there = ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        guess = f"did you mean {close[0]}? " if close else ""
        return TaskError(
            pb.MODEL_NOT_FOUND,
            f"there is no model {name} on this worker",
            f"{guess}it has: {there or 'none yet'}; others go into {self._models_dir}, or are "
            'named by their Hugging Face id, "owner/name"',
        )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # not there, not a folder, not for us to read
        return []


def check_name(name: str) -> None:
    """Accept names that cannot lead out of a folder.

    Raises:
        TaskError: BAD_REQUEST for any other name.
    """
    parts = name.split("/")
    if not name:
        problem = "the task names no model"
    elif len(parts) > 2 or not name.isprintable() or "\\" in name:
        problem = f"{name!r} is not a model's name"
    elif any(not part or part.startswith(".") for part in parts):
        problem = f"{name!r} is a path, not a model's name"
    else:
        return
    raise TaskError(
        pb.BAD_REQUEST,
        problem,
        'name a file or folder in the models folder, or a Hugging Face id, "owner/name"',
    )


def names_repository(name: str) -> bool:
    """Return whether `name` has the form of a Hugging Face id, "owner/name"."""
    if "/" not in name:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
