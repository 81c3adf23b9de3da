"""What is in a model's folder: which files a library may get, and where they really are.

A folder may come from anybody. Links are followed as far as `within`, the
models folder or a repository's part of the download cache; a file that would
be opened and leads further, or is a pipe or a device, refuses the model.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.checkpoint_files import PICKLED, SUFFIX
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.gguf.files import belonging
from daiic.worker.models.model_json import shown

OPENED = (SUFFIX, ".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Suffixes of the files that libraries get; others, code among them, they never see."""
DEPTH = LIMITS.depth
"""Folders below a model's: a pipeline's parts, and what a part may have."""
MAX_ENTRIES = LIMITS.entries
"""In a model's folder and below; the largest published ones have some hundred."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of a model that may be opened: their real places, by name within its folder."""

    files: dict[str, Path]
    pickled: list[str]

    @property
    def weights(self) -> list[str]:
        """The names of its .safetensors or .gguf files."""
        return [name for name in self.files if name.endswith(SUFFIX) or is_gguf(name)]


def survey(path: Path, name: str, within: Path) -> Contents:
    """Return what is in the folder of the model `name`, or the file `path` itself.

    To a GGUF file belong its other parts, projector, draft and adapters; in other models'
    folders such files are of no use.

    Raises:
        TaskError: BAD_REQUEST for a file that leads out of `within` or cannot
            be opened as one, or for a folder that cannot be read or is too large.
    """
    root = Path(os.path.realpath(within))
    files: dict[str, Path] = {}
    pickled: list[str] = []
    of_gguf = is_gguf(path.name) and not path.is_dir()
    try:
        for file, label in _candidates(path, name):
            if file.suffix in PICKLED and not file.name.startswith("training_args"):
                pickled.append(label)
            elif file.suffix in OPENED or (of_gguf and is_gguf(file.name)):
                files[label] = _real(file, label, name, root)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a name in it is not valid"
        raise _refused(name, f"cannot be searched: {reason}", "check its files") from None
    return Contents(dict(sorted(files.items())), sorted(pickled))


def _candidates(path: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Yield the files that `survey` looks at, and what they are called within the model."""
    if path.is_dir():
        yield from ((path / inner, str(inner)) for inner in _names(path, name))
    elif is_gguf(path.name):
        yield from ((file, str(file.relative_to(path.parent))) for file in belonging(path))
    else:
        yield path, path.name


def _names(path: Path, name: str) -> Iterator[PurePosixPath]:
    """Yield the names of all that is no folder, in `path` and DEPTH levels below."""
    folders = [(PurePosixPath(), 0)]
    count = 0
    while folders:
        inner, depth = folders.pop()
        with os.scandir(path / inner) as entries:
            for entry in entries:
                count += 1
                if count > MAX_ENTRIES:
                    raise _refused(
                        name,
                        f"is not a model's folder: it has more than {MAX_ENTRIES} files",
                        "put each model into a folder of its own",
                    )
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield inner / entry.name
                elif depth < DEPTH:
                    folders.append((inner / entry.name, depth + 1))


def _real(file: Path, label: str, name: str, root: Path) -> Path:
    real = Path(os.path.realpath(file))
    if not real.is_relative_to(root):
        raise _refused(
            name,
            f"has a file that is a link out of its folder ({shown(label)})",
            "put the files themselves into the models folder",
        )
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        raise _refused(
            name, f"has a link to a file that is not there ({shown(label)})", "copy it again"
        ) from None
    if not stat.S_ISREG(mode):
        raise _refused(name, f"has {shown(label)}, which is not a regular file", "remove it")
    return real


def _refused(name: str, what: str, remedy: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, f"{shown(name)} {what}", remedy)
