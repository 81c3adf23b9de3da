"""Who a worker is: an id that stays over restarts, and a number for this start."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import structlog

from daiic.bounded_file import read_bounded
from daiic.service.settings import SettingsError

MAX_ID = 64
MAX_FILE = 1 << 20
"""Bytes; a larger file of this name is somebody else's, not an id that was damaged."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """`worker_id` is in heartbeats and results, `name` is for people."""

    worker_id: str
    incarnation: int
    name: str


def identify(state_dir: str, name: str) -> Identity:
    """Return this worker's identity; its id is kept in `state_dir`, and made there at first.

    A file without an id, after a crash perhaps, gets a new one.

    Raises:
        SettingsError: if that cannot be read or written.
    """
    folder = Path(state_dir).expanduser()
    file = folder / "worker-id"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f'state_dir = "{state_dir}" cannot be used: {error.strerror}; it must be a folder that '
            "the worker may write to"
        ) from None
    worker_id = _read(file)
    if not worker_id:
        worker_id = secrets.token_hex(8)
        _write(file, worker_id)
    return Identity(worker_id, secrets.randbits(63) | 1, name)


def _read(file: Path) -> str:
    """Return the id in `file`, or nothing if there is none in it."""
    try:
        content = read_bounded(file, MAX_FILE)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be read: {error.strerror}; remove it, and the worker makes a new id"
        ) from None
    worker_id = content.decode("ascii", "replace").strip()
    if worker_id.isascii() and worker_id.isalnum() and len(worker_id) <= MAX_ID:
        return worker_id
    log.warning("the file has no id; creating a new one", file=str(file))
    return ""


def _write(file: Path, worker_id: str) -> None:
    new = file.with_suffix(".new")
    try:
        new.write_text(f"{worker_id}\n", "ascii")
        new.replace(file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from None
