"""The files of a loaded model under links that stay, since its llama-server may start again."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

Seen = tuple[int, int, int, int]


class KeptFiles:
    """Links to `files`, which are those of the model at `path`; `close` removes them."""

    def __init__(self, path: Path, files: Iterable[Path]) -> None:
        """Raises OSError if a file is gone."""
        self._from = path.parent
        self._place = Path(tempfile.mkdtemp(prefix="daiic-gguf-"))
        self._seen: dict[Path, Seen] = {}
        try:
            for file in files:
                link = self.link_to(file)
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(file.resolve())
                self._seen[link] = _seen(link)
        except BaseException:
            self.close()
            raise

    def link_to(self, file: Path) -> Path:
        """Return the link to one of the files."""
        if file.is_relative_to(self._from):
            return self._place / file.relative_to(self._from)
        return self._place / "elsewhere" / file.name

    def check(self) -> None:
        """Raise a TaskError if a file is not what it was: other weights must not go on."""
        try:
            changed = [link.name for link, seen in self._seen.items() if _seen(link) != seen]
        except OSError as error:
            changed = [Path(error.filename).name]
        if changed:
            raise TaskError(
                pb.INTERNAL,
                f"{changed[0]} has changed since the model was loaded",
                "send the task again, and the model is loaded as it is now",
            )

    def close(self) -> None:
        """Remove the links."""
        shutil.rmtree(self._place, ignore_errors=True)


def _seen(link: Path) -> Seen:
    found = link.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
