"""What benches have measured, in a file, so that it is there after a restart."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from daiic.background import in_thread
from daiic.bench.figures import Measured
from daiic.bounded_file import read_bounded
from daiic.gateway.limits import KEPT_MEASUREMENTS
from daiic.replaced_file import replace_file

MAX_FILE = 16 << 20
"""Bytes; as many as `KEPT_MEASUREMENTS` of the longest could take."""

log = structlog.get_logger()


class _Document(msgspec.Struct):
    measured: list[Measured] = []


class BenchStore:
    """The newest figures of each model on each worker, by how the worker held it.

    `measured` has the oldest first. `changes` grows with each one that is added.
    """

    def __init__(self, folder: str) -> None:
        """`folder` gets the file; with "" everything is forgotten at the end."""
        self._file = Path(folder).expanduser() / "benches.json" if folder else None
        self._writing = asyncio.Lock()
        self.measured: list[Measured] = []
        self.changes = 0

    def load(self) -> None:
        """Read the file, if there is one; a damaged one is put aside, and the log says so."""
        if self._file is None:
            return
        try:
            content = read_bounded(self._file, MAX_FILE)
            document = msgspec.json.decode(content, type=_Document)
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("results of benches cannot be read", file=str(self._file), reason=str(error))
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            aside = self._file.with_suffix(".damaged")
            log.error(
                "the file has no results of benches; it is put aside",
                file=str(self._file),
                aside=str(aside),
                reason=str(error),
            )
            try:
                self._file.replace(aside)
            except OSError as refused:
                log.error("it cannot be put aside", reason=refused.strerror)
            return
        self._replace(document.measured)

    async def add(self, measured: Measured) -> None:
        """Keep `measured` in place of what was measured of the same before."""
        same = _subject(measured)
        self._replace([*(held for held in self.measured if _subject(held) != same), measured])
        if self._file is None:
            return
        file = self._file
        async with self._writing:
            content = msgspec.json.format(msgspec.json.encode(_Document(self.measured)))
            try:
                await in_thread(lambda: _write(file, content))
            except OSError as error:
                log.error(
                    "results of benches cannot be written; they will be gone after a restart. "
                    "state_dir should be a folder that the gateway may write to",
                    file=str(file),
                    reason=error.strerror,
                )

    def _replace(self, measured: Iterable[Measured]) -> None:
        self.measured = [*measured][-KEPT_MEASUREMENTS:]
        self.changes += 1


def _subject(measured: Measured) -> tuple[str, ...]:
    return (
        measured.model,
        measured.worker,
        measured.engine,
        measured.quantization,
        measured.placement,
    )


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(file, content)
