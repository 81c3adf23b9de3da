"""Which models there are on this machine, and what a task's model name means.

A name is that of a file or folder in the models folder, or a Hugging Face id,
"owner/name", with a quantisation after a colon if that has GGUF files
(`daiic.model_names` tells how else people write such names). Nothing outside
the models folder and the download cache is ever read, whatever a name or a
symbolic link says.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import structlog

from daiic.errors import TaskError
from daiic.model_names import GGUF, meant, plain
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.registry import choose
from daiic.worker.limits import LIMITS
from daiic.worker.models import hub_cache
from daiic.worker.models.checkpoint_files import (
    CONFIGURATION_SUFFIX,
    PICKLED,
    SUFFIX,
    all_there,
    is_file,
    is_model,
    unsafe_weights,
)
from daiic.worker.models.gguf.description import describe
from daiic.worker.models.gguf.files import parts_of
from daiic.worker.models.gguf.shelf import models_in, tagged
from daiic.worker.models.model import Model
from daiic.worker.models.model_folder import survey
from daiic.worker.models.model_json import shown
from daiic.worker.models.names import check_name, is_name, names_repository, repository_and_tag

SHOWN = 12
"""Models that an error names at most."""
MAX_ENTRIES = LIMITS.looked_at
"""Of a folder that are looked at."""
MAX_MODELS = LIMITS.models
"""That a worker offers; each takes some 50 bytes of every heartbeat."""
MAX_TOLD = LIMITS.unusable
"""Unusable models that the log names after one look."""

log = structlog.get_logger()


Look = Callable[[], Model | None]


class Catalog:
    """The models in `models_dir` and those downloaded into `cache_dir`.

    Its methods read the disk and so belong into a thread.
    """

    def __init__(self, models_dir: Path, cache_dir: Path | None) -> None:
        """`cache_dir` is `None` for Hugging Face's own."""
        self._models_dir = models_dir.expanduser()
        self._cache_dir = cache_dir.expanduser() if cache_dir else None
        self.unusable: dict[str, str] = {}
        """What is wrong with which models of `models_dir`, at the last scan; MAX_TOLD at most."""
        self._told: dict[str, str] = {}

    def scan(self) -> list[Model]:
        """Return every model that can be loaded without a download, by name.

        What is wrong with others is logged when it is new.
        """
        unusable: dict[str, str] = {}
        found = _looked_at(self._downloaded(unusable), unusable)
        in_cache = frozenset(unusable)
        found |= _looked_at(self._local(unusable), unusable)
        self._tell(unusable, len(found))
        here = (name for name in unusable if name not in in_cache and is_name(name))
        self.unusable = {name: unusable[name] for name in islice(here, MAX_TOLD)}
        return [found[name] for name in sorted(found)[:MAX_MODELS]]

    def find(self, name: str) -> Model | None:
        """Return what `name` means; `None` for a Hugging Face id that is not in `models_dir`.

        Raises:
            TaskError: BAD_REQUEST for a name that is neither, or leads out of
                the models folder, or means no model that can run;
                UNSAFE_WEIGHTS for pickled weights; MODEL_NOT_FOUND, with what
                there is, otherwise.
        """
        check_name(plain(name))
        ggufs = self._ggufs()
        known = meant(name, ggufs)
        path = ggufs.get(known) or self._models_dir / plain(name)
        try:
            exists = path.exists()
            inside = exists and path.resolve().is_relative_to(self._models_dir.resolve())
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, no file's name
            exists, inside = False, False
        if exists and not inside:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{name} is a link that leads out of the models folder",
                "put the model itself into the models folder, or set models_dir to where it is",
            )
        try:
            if path.suffix == GGUF and is_file(path):
                return self._usable_gguf(known, path)
            if exists and (is_model(path) or path.suffix in PICKLED):
                return self._model_at(name, path)
            if exists and path.is_dir():
                pickled = survey(path, name, self._models_dir).pickled
                if pickled:
                    raise unsafe_weights(name, pickled)
        except OSError as error:
            raise _unreadable(name, error) from None
        if repository_and_tag(plain(name)):
            return None
        raise self._not_found(name)

    def downloaded(self, name: str) -> Model | None:
        """Return the model with the Hugging Face id `name` if all of it is in the cache.

        Raises:
            TaskError: as `find`, for one that is there and cannot be used.
        """
        if not names_repository(name):
            return None
        try:
            return self._model_in_cache(name, hub_cache.folder_of(self._cache_dir, name))
        except OSError as error:
            raise _unreadable(name, error) from None

    def _model_in_cache(self, name: str, folder: Path) -> Model | None:
        """Return the model in a repository's `folder`, `None` if not all of it is there.

        Raises:
            TaskError: as `find`.
            OSError: if it cannot be read.
        """
        path = hub_cache.snapshot(folder)
        if path is None or not is_model(path):
            return None
        if not all_there(survey(path, name, folder).files.keys()):
            return None
        return _model(name, path, folder)

    def _model_at(self, name: str, path: Path) -> Model:
        """Return the model `name` in the folder or file `path` of `models_dir`.

        Raises:
            TaskError: as `find`.
            OSError: if it cannot be read.
        """
        contents = survey(path, name, self._models_dir)
        if not contents.weights:
            if contents.pickled:
                raise unsafe_weights(name, contents.pickled)
            raise TaskError(
                pb.MODEL_NOT_FOUND,
                f"{name} has no weights",
                f"put its {SUFFIX} files beside its config",
            )
        return _model(name, path, self._models_dir)

    def _usable_gguf(self, name: str, path: Path) -> Model:
        model = _gguf_model(name, path, self._models_dir)
        if model is not None:
            return model
        kind = describe(path).kind
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} is no model of its own: it is of the kind {shown(kind)}",
            "name the model that it belongs to",
        )

    def _ggufs(self) -> dict[str, Path]:
        """Return the GGUF files of `models_dir` that may be models, by name."""
        found: dict[str, Path] = {}
        unusable: dict[str, str] = {}
        entries = _entries(self._models_dir, unusable)
        for name, file in models_in(_gguf_names(entries)).items():
            found[name] = self._models_dir / file
        for path in entries:
            inner = _entries(path, unusable)
            if _is_gguf_folder(path, inner):
                for name, file in tagged(path.name, _gguf_names(inner)).items():
                    found[name] = path / file
        return found

    def _local(self, unusable: dict[str, str]) -> Iterator[tuple[str, Look]]:
        """Yield what may be a model, here and one folder down; say what cannot be read."""
        for name, path in self._ggufs().items():
            yield name, partial(_gguf_model, name, path, self._models_dir)
        for path in _entries(self._models_dir, unusable):
            if path.suffix == CONFIGURATION_SUFFIX and is_model(path.with_suffix(SUFFIX)):
                continue  # the configuration of the checkpoint beside it
            inner = _entries(path, unusable)
            for place in [path] if is_model(path) else inner:
                if is_model(place) and not _is_gguf_folder(place, inner):
                    name = str(place.relative_to(self._models_dir))
                    yield name, partial(self._model_at, name, place)

    def _downloaded(self, unusable: dict[str, str]) -> Iterator[tuple[str, Look]]:
        try:
            for name, folder in hub_cache.repositories(self._cache_dir):
                if names_repository(name):
                    yield name, partial(self._model_in_cache, name, folder)
        except OSError as error:
            unusable[str(self._cache_dir or "the download cache")] = _reason(error)

    def _tell(self, unusable: dict[str, str], usable: int) -> None:
        new = [name for name, why in unusable.items() if self._told.get(name) != why]
        for name in new[:MAX_TOLD]:
            log.warning("model cannot be used", model=shown(name), reason=unusable[name])
        if len(new) > MAX_TOLD:
            log.warning("more models cannot be used", models=len(new) - MAX_TOLD)
        if usable > MAX_MODELS:
            log.warning("too many models; the last are not offered", offered=MAX_MODELS, of=usable)
        self._told = unusable

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


def _model(name: str, path: Path, within: Path) -> Model:
    _, probed = choose(path, name)
    return Model(name, path, probed.model_kind, within, probed.capabilities)


def _gguf_model(name: str, path: Path, within: Path) -> Model | None:
    """Return the model in the GGUF file `path`, `None` for what only belongs to one.

    Raises:
        TaskError: BAD_REQUEST if its files cannot be used.
        OSError: if they cannot be read.
    """
    survey(path, name, within)
    if describe(path).kind != "model":
        return None
    return _model(name, parts_of(path)[0], within)


def _gguf_names(entries: Iterable[Path]) -> list[str]:
    return [path.name for path in entries if path.suffix == GGUF and is_file(path)]


def _is_gguf_folder(path: Path, inner: Iterable[Path]) -> bool:
    """Return whether the folder `path` with `inner` has its weights in GGUF files only.

    Repositories of such files often have the configuration of the model that they were made of.
    """
    suffixes = {entry.suffix for entry in inner}
    return GGUF in suffixes and SUFFIX not in suffixes and not is_file(path / "model_index.json")


def _looked_at(
    candidates: Iterable[tuple[str, Look]], unusable: dict[str, str]
) -> dict[str, Model]:
    found: dict[str, Model] = {}
    for name, look in candidates:
        try:
            check_name(name)
            model = look()
            if model is not None:
                found[name] = model
        except TaskError as error:
            unusable[name] = error.message
        except OSError as error:
            unusable[name] = _reason(error)
    return found


def _entries(folder: Path, unusable: dict[str, str]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in islice(entries, MAX_ENTRIES))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unusable[str(folder)] = _reason(error)
        return []


def _reason(error: OSError) -> str:
    return f"it cannot be read: {error.strerror or type(error).__name__}"


def _unreadable(name: str, error: OSError) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST, f"{name}: {_reason(error)}", "let the worker read the model's files"
    )
