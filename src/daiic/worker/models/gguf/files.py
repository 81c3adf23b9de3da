"""Which files beside a GGUF file belong to the same model."""

import os
from itertools import islice
from pathlib import Path

from daiic.errors import TaskError
from daiic.model_names import GGUF
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.gguf.file_names import is_projector, part_of, parts, projector_for
from daiic.worker.models.model_json import shown

MAX_PARTS = LIMITS.gguf_parts
MAX_ENTRIES = LIMITS.looked_at


def parts_of(path: Path) -> list[Path]:
    """Return the files of the model in `path`, which is a whole file or one of its parts.

    Raises:
        TaskError: BAD_REQUEST if parts are missing or too many.
    """
    part = part_of(path.name)
    if part is None:
        return [path]
    _, number, count = part
    if not 1 <= number <= count <= MAX_PARTS:
        what = f"is part {number} of {count}; at most {MAX_PARTS} are read"
        raise _refused(path, what, "merge them with llama-gguf-split")
    files = [path.with_name(name) for name in parts(path.name)]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        what = f"is not whole: {shown(missing[0])} is missing"
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise _refused(path, what + more, "copy or download all of its parts")
    return files


def projector_of(path: Path) -> Path | None:
    """Return the file beside the model in `path` with which it sees images, if there is one."""
    try:
        with os.scandir(path.parent) as entries:
            names = [
                entry.name
                for entry in islice(entries, MAX_ENTRIES)
                if entry.name.endswith(GGUF) and is_projector(entry.name)
            ]
    except OSError:
        return None
    found = projector_for(path.name, names)
    return path.with_name(found) if found else None


def belonging(path: Path) -> list[Path]:
    """Return all files of the model in `path`: its parts, and what lets it see images.

    Raises:
        TaskError: as `parts_of`.
    """
    projector = projector_of(path)
    return [*parts_of(path), *([projector] if projector else [])]


def _refused(path: Path, what: str, remedy: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, f"{shown(path.name)} {what}", remedy)
