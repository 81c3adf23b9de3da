"""Which files beside a GGUF file belong to the same model."""

import os
from itertools import islice
from pathlib import Path

from daiic.errors import TaskError
from daiic.model_names import GGUF
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.gguf.file_names import (
    draft_for,
    part_of,
    parts,
    projector_for,
    tag,
    whole_name,
)
from daiic.worker.models.model_json import shown

MAX_PARTS = LIMITS.gguf_parts
MAX_ENTRIES = LIMITS.looked_at
MAX_ADAPTERS = LIMITS.adapters
ADAPTERS = ".adapters"
SEPARATORS = ",:"
"""Of llama-server's list of adapters: files with them in their names are none."""


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
    found = projector_for(path.name, _ggufs(path.parent))
    return path.with_name(found) if found else None


def draft_of(path: Path) -> Path | None:
    """Return the model beside that in `path` which guesses ahead for it, if there is one."""
    found = draft_for(path.name, _ggufs(path.parent))
    return path.with_name(found) if found else None


def adapters_of(path: Path) -> list[Path]:
    """Return the adapters of the model in `path`, which are in a folder beside it, by name.

    The folder of NAME-Q4_K_M.gguf is NAME-Q4_K_M.adapters, or NAME.adapters for all quantisations.
    """
    stem = whole_name(path.name).removesuffix(GGUF)
    tagless = stem.removesuffix(tag(path.name)).rstrip("-._")
    for name in dict.fromkeys((stem, tagless)):
        folder = path.with_name(f"{name}{ADAPTERS}")
        found = sorted(f for f in _ggufs(folder) if not set(SEPARATORS) & set(f))[:MAX_ADAPTERS]
        if name and found:
            return [folder / file for file in found]
    return []


def belonging(path: Path, draft: Path | None = None) -> list[Path]:
    """Return all files of the model in `path`: its parts, and what it sees, adapts or guesses with.

    A `draft` from elsewhere takes the place of that beside it.

    Raises:
        TaskError: as `parts_of`.
    """
    draft = draft or draft_of(path)
    drafts = parts_of(draft) if draft is not None else []
    projector = projector_of(path)
    projectors = [projector] if projector is not None else []
    return [*parts_of(path), *projectors, *drafts, *adapters_of(path)]


def size_of(path: Path, draft: Path | None = None) -> int:
    """Return the bytes of all files of the model in `path`; `draft` is as `belonging` has it.

    Raises:
        TaskError: as `parts_of`.
    """
    return sum(file.stat().st_size for file in belonging(path, draft))


def _ggufs(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return [e.name for e in islice(found, MAX_ENTRIES) if e.name.endswith(GGUF)]
    except OSError:
        return []


def _refused(path: Path, what: str, remedy: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, f"{shown(path.name)} {what}", remedy)
