"""Which models there are on this machine, and what a task's model name means.

A name is that of a file or folder in the models folder, or a Hugging Face id,
"owner/name", with a quantisation after a colon if that has GGUF files
(`daiic.model_names` tells how else people write such names). Nothing outside
the models folder and the download cache is ever read, whatever a name or a
symbolic link says.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import structlog

from daiic.errors import TaskError
from daiic.model_names import plain
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineEntry
from daiic.worker.engines.registry import ENGINES
from daiic.worker.limits import LIMITS
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.downloaded_models import DownloadedModels
from daiic.worker.models.entries import unreadable
from daiic.worker.models.gguf.choice import choose_quantization
from daiic.worker.models.local_models import LocalModels, Look
from daiic.worker.models.model import Model
from daiic.worker.models.model_json import shown
from daiic.worker.models.names import check_name, is_name, repository_and_tag
from daiic.worker.models.ollama_store import OllamaStore

SHOWN = 12
"""Models that an error names at most."""
MAX_MODELS = LIMITS.models
"""That a worker offers; each takes some 50 bytes of every heartbeat."""
MAX_TOLD = LIMITS.unusable
"""Unusable models that the log names after one look."""
ANY_SIZE = MemoryBudget(0, 1 << 62)

log = structlog.get_logger()


class Catalog:
    """The models in `models_dir` and those downloaded into `cache_dir`.

    Its methods read the disk and so belong into a thread.
    """

    def __init__(
        self,
        models_dir: Path,
        cache_dir: Path | None,
        room: Callable[[], MemoryBudget] = lambda: ANY_SIZE,
        *,
        prefers_gguf: bool = False,
        ollama_dir: Path | None = None,
        engines: Sequence[EngineEntry] = ENGINES,
        complete: Callable[[Model], Model] = lambda model: model,
    ) -> None:
        """`cache_dir` is `None` for Hugging Face's own; `room` is what one model may take.

        `ollama_dir` is the folder of Ollama's models, if those are to be served too.
        `engines` are those that may run models.

        With `prefers_gguf`, GGUF files are used where a model was downloaded in both formats.
        `complete` adds to a model what is not in its files alone.
        """
        self._local = LocalModels(models_dir, room, engines)
        self._downloaded = DownloadedModels(
            cache_dir, room, prefers_gguf=prefers_gguf, engines=engines
        )
        self._ollama = OllamaStore(ollama_dir) if ollama_dir is not None else None
        self.unusable: dict[str, str] = {}
        """What is wrong with which models of `models_dir`, at the last scan; MAX_TOLD at most."""
        self.aliases: dict[str, str] = {}
        """Names without a quantisation, and the names of the models that they mean."""
        self._room = room
        self._complete = complete
        self._told: dict[str, str] = {}

    def scan(self) -> list[Model]:
        """Return every model that can be loaded without a download, by name.

        What is wrong with others is logged when it is new.
        """
        unusable: dict[str, str] = {}
        try:
            found = {
                name: replace(model, downloaded=True)
                for name, model in _looked_at(self._downloaded.offered(), unusable).items()
            }
        except OSError as error:
            found = {}
            unusable[str(self._downloaded.cache_dir or "the download cache")] = unreadable(error)
        in_cache = frozenset(unusable)
        if self._ollama is not None:
            found |= _looked_at(self._ollama.offered(unusable), unusable)
        found |= _looked_at(self._local.offered(unusable), unusable)
        self._tell(unusable, len(found))
        here = (name for name in unusable if name not in in_cache and is_name(name))
        self.unusable = {name: unusable[name] for name in islice(here, MAX_TOLD)}
        self.aliases = self._without_quantization(found)
        return [self._complete(found[name]) for name in sorted(found)[:MAX_MODELS]]

    def _without_quantization(self, found: Mapping[str, Model]) -> dict[str, str]:
        """Return which of several quantisations is meant where none is named."""
        groups: dict[str, dict[str, int]] = defaultdict(dict)
        for name, model in found.items():
            bare, colon, _ = name.partition(":")
            if colon and bare not in found:
                groups[bare][name] = model.needs
        several = {bare: needs for bare, needs in groups.items() if len(needs) > 1}
        return {bare: choose_quantization(several[bare], self._room())[0] for bare in several}

    def find(self, name: str) -> Model | None:
        """Return what `name` means; `None` for a Hugging Face id that is not in `models_dir`.

        Raises:
            TaskError: BAD_REQUEST for a name that is neither, or leads out of
                the models folder, or means no model that can run;
                UNSAFE_WEIGHTS for pickled weights; MODEL_NOT_FOUND, with what
                there is, otherwise.
        """
        name = plain(name)
        check_name(name)
        try:
            model = self._local.find(name)
            if model is None and self._ollama is not None:
                model = self._ollama.find(name)
        except OSError as error:
            raise _unreadable(name, error) from None
        if model is None and repository_and_tag(name) is None:
            raise self._not_found(name)
        return self._complete(model) if model is not None else None

    def downloaded(self, name: str) -> Model | None:
        """Return the model with the Hugging Face id `name` if all of it is in the cache.

        Raises:
            TaskError: as `find`, for one that is there and cannot be used.
        """
        try:
            model = self._downloaded.find(plain(name))
            return self._complete(replace(model, downloaded=True)) if model is not None else None
        except OSError as error:
            raise _unreadable(name, error) from None

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
            f"{guess}it has: {there or 'none yet'}; others go into {self._local.folder}, or are "
            'named by their Hugging Face id, "owner/name"',
        )


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
            unusable[name] = unreadable(error)
    return found


def _unreadable(name: str, error: OSError) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST, f"{name}: {unreadable(error)}", "let the worker read the model's files"
    )
