"""The models in the models folder, and what names of them mean."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from daiic.errors import TaskError
from daiic.model_names import GGUF, Names
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineEntry
from daiic.worker.engines.registry import ENGINES
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.adapters import is_adapters
from daiic.worker.models.checkpoint_files import (
    CONFIGURATION_SUFFIX,
    PICKLED,
    SUFFIX,
    is_file,
    is_model,
    unsafe_weights,
)
from daiic.worker.models.entries import entries
from daiic.worker.models.gguf import shelf
from daiic.worker.models.identified import best_gguf, gguf, gguf_by_name, identified
from daiic.worker.models.model import Model
from daiic.worker.models.model_folder import survey

Look = Callable[[], Model | None]


class LocalModels:
    """The models in `folder`, of which one may take as much memory as `room` says.

    `engines` are those that may run them.
    """

    def __init__(
        self,
        folder: Path,
        room: Callable[[], MemoryBudget],
        engines: Sequence[EngineEntry] = ENGINES,
    ) -> None:
        self.folder = folder.expanduser()
        self._room = room
        self._engines = engines

    def offered(self, unusable: dict[str, str]) -> Iterator[tuple[str, Look]]:
        """Yield what may be a model, here and one folder down; say what cannot be read."""
        for name, path in shelf.local_models(self.folder, unusable).items():
            yield name, partial(gguf, name, path, self.folder)
        for path in entries(self.folder, unusable):
            if is_adapters(path):
                continue
            if path.suffix == CONFIGURATION_SUFFIX and is_model(path.with_suffix(SUFFIX)):
                continue  # the configuration of the checkpoint beside it
            inner = entries(path, unusable)
            for place in [path] if is_model(path) else inner:
                if is_adapters(place):
                    continue
                if is_model(place) and not shelf.is_gguf_folder(place, inner):
                    name = str(place.relative_to(self.folder))
                    yield name, partial(self._checkpoint, name, place)

    def find(self, name: str) -> Model | None:
        """Return the model that `name` means, if it means one.

        Raises:
            TaskError: BAD_REQUEST for a name that leads out of the folder, or
                means no model that can run; UNSAFE_WEIGHTS for pickled weights.
            OSError: if its files cannot be read.
        """
        ggufs = shelf.local_models(self.folder, {})
        if name in ggufs:
            return self._gguf(name, ggufs[name])
        path = self.folder / name
        if not _exists(path):
            several = {n: path for n, path in ggufs.items() if n.startswith(f"{name}:")}
            if several:
                return best_gguf(several, self.folder, self._room())
            name = Names(ggufs).meant(name)
            return self._gguf(name, ggufs[name]) if name in ggufs else None
        self._check_inside(name, path)
        if path.suffix == GGUF and is_file(path):
            names = {file: n for n, file in ggufs.items()}
            return gguf_by_name(names.get(path, name), path, self.folder)
        if shelf.is_gguf_folder(path, entries(path, {})):
            several = {n: file for n, file in ggufs.items() if file.parent == path}
            return best_gguf(several, self.folder, self._room())
        if is_model(path) or path.suffix in PICKLED:
            return self._checkpoint(name, path)
        if path.is_dir():
            pickled = survey(path, name, self.folder).pickled
            if pickled:
                raise unsafe_weights(name, pickled)
        return None

    def _gguf(self, name: str, path: Path) -> Model:
        self._check_inside(name, path)
        return gguf_by_name(name, path, self.folder)

    def _check_inside(self, name: str, path: Path) -> None:
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise TaskError(
                pb.BAD_REQUEST,
                f"{name} is a link that leads out of the models folder",
                "put the model itself into the models folder, or set models_dir to where it is",
            )

    def _checkpoint(self, name: str, path: Path) -> Model:
        contents = survey(path, name, self.folder)
        if not contents.weights:
            if contents.pickled:
                raise unsafe_weights(name, contents.pickled)
            raise TaskError(
                pb.MODEL_NOT_FOUND,
                f"{name} has no weights",
                f"put its {SUFFIX} files beside its config",
            )
        return identified(name, path, self.folder, self._engines)


def _exists(path: Path) -> bool:
    try:
        return path.exists() and bool(path.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, no file's name
        return False
