"""The models in the download cache, and what Hugging Face ids mean among them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from daiic.errors import TaskError
from daiic.model_names import Names
from daiic.worker.engines.interface import EngineEntry
from daiic.worker.engines.registry import ENGINES
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models import hub_cache
from daiic.worker.models.checkpoint_files import all_there, is_model
from daiic.worker.models.gguf.files import parts_of
from daiic.worker.models.gguf.shelf import snapshot_models
from daiic.worker.models.identified import best_gguf, gguf, identified
from daiic.worker.models.local_models import Look
from daiic.worker.models.model import Model
from daiic.worker.models.model_folder import survey
from daiic.worker.models.names import GGUF_REPOSITORY, names_repository, repository_and_tag


class DownloadedModels:
    """What was downloaded into `cache_dir`, `None` for Hugging Face's own.

    One of them may take as much memory as `room` says. With `prefers_gguf`,
    GGUF files are used where a model is there in both formats. `engines` are
    those that may run them.
    """

    def __init__(
        self,
        cache_dir: Path | None,
        room: Callable[[], MemoryBudget],
        *,
        prefers_gguf: bool,
        engines: Sequence[EngineEntry] = ENGINES,
    ) -> None:
        self._engines = engines
        self.cache_dir = cache_dir.expanduser() if cache_dir else None
        self._room = room
        self._prefers_gguf = prefers_gguf

    def offered(self) -> Iterator[tuple[str, Look]]:
        """Yield what may be a model.

        Raises:
            OSError: if the cache is there and cannot be read.
        """
        for repository, folder in hub_cache.repositories(self.cache_dir):
            if names_repository(repository):
                yield repository, partial(self._checkpoint, repository, folder)
                for name, file in self._ggufs(repository, folder).items():
                    yield name, partial(gguf, name, file, folder)

    def find(self, name: str) -> Model | None:
        """Return the model with the Hugging Face id `name` if all of it is here.

        Raises:
            TaskError: BAD_REQUEST for one that is here and cannot be used.
            OSError: if its files cannot be read.
        """
        asked = repository_and_tag(name)
        if asked is None:
            return None
        repository, tag = asked
        found = self._in(repository, tag)
        if found is None and (tag or self._prefers_gguf):
            found = self._in(repository + GGUF_REPOSITORY, tag)
        return found

    def _in(self, repository: str, tag: str) -> Model | None:
        folder = hub_cache.folder_of(self.cache_dir, repository)
        ggufs = self._ggufs(repository, folder)
        if tag:
            name = Names(ggufs).meant(f"{repository}:{tag}")
            return gguf(name, ggufs[name], folder) if name in ggufs else None
        if not (ggufs and self._prefers_gguf):
            checkpoint = self._checkpoint(repository, folder)
            if checkpoint is not None:
                return checkpoint
        return best_gguf(ggufs, folder, self._room())

    def _checkpoint(self, repository: str, folder: Path) -> Model | None:
        path = hub_cache.snapshot(folder)
        if path is None or not is_model(path):
            return None
        if not all_there(survey(path, repository, folder).files.keys()):
            return None
        return identified(repository, path, folder, self._engines)

    def _ggufs(self, repository: str, folder: Path) -> dict[str, Path]:
        """Return the GGUF models of a repository of which all parts are here, by name."""
        path = hub_cache.snapshot(folder)
        found = snapshot_models(path, {}) if path is not None else {}
        return {f"{repository}:{label}": file for label, file in found.items() if _is_whole(file)}


def _is_whole(file: Path) -> bool:
    try:
        return bool(parts_of(file))
    except TaskError:
        return False
