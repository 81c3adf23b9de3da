"""The folders that Hugging Face's library has downloaded models into.

Its layout (huggingface.co/docs/huggingface_hub/guides/manage-cache): for each
repository a folder models--OWNER--NAME with `blobs`, with `snapshots`, each a
folder of links into `blobs`, and with `refs`, files that name a snapshot.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from huggingface_hub import constants

from daiic.bounded_file import read_bounded
from daiic.worker.limits import LIMITS

PREFIX = "models--"
MAX_ENTRIES = LIMITS.looked_at


def folder_of(cache_dir: Path | None, repository: str) -> Path:
    """Return where the files of `repository` are; `cache_dir` is `None` for the library's own."""
    root = cache_dir or Path(constants.HF_HUB_CACHE).expanduser()
    return root / (PREFIX + repository.replace("/", "--"))


def repositories(cache_dir: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the name and the folder of every model's repository there; they may be damaged.

    Raises:
        OSError: if the cache is there and cannot be read.
    """
    try:
        with os.scandir(cache_dir or Path(constants.HF_HUB_CACHE).expanduser()) as entries:
            found = list(
                islice((e.path for e in entries if e.name.startswith(PREFIX)), MAX_ENTRIES)
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in sorted(map(Path, found)):
        yield path.name.removeprefix(PREFIX).replace("--", "/"), path


def snapshot(folder: Path) -> Path | None:
    """Return the snapshot that `main` names in a repository's `folder`, else the newest, if any.

    Raises:
        OSError: if the folder cannot be read.
    """
    snapshots = folder / "snapshots"
    try:
        named = read_bounded(folder / "refs" / "main", 256).decode("ascii", "replace").strip()
        if named and named == Path(named).name and (snapshots / named).is_dir():
            return snapshots / named
    except (OSError, ValueError):
        pass  # a download was cut off, or another revision was asked for
    try:
        with os.scandir(snapshots) as entries:
            there = [Path(e.path) for e in islice(entries, MAX_ENTRIES) if e.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return max(there, key=lambda path: path.stat().st_mtime, default=None)
