"""Who a worker is: an id that stays over restarts, and a number for this start."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from daiic.service.settings import SettingsError


@dataclass(frozen=True, slots=True)
class Identity:
    """`worker_id` is in heartbeats and results, `name` is for people."""

    worker_id: str
    incarnation: int
    name: str


def identify(state_dir: str, name: str) -> Identity:
    """Return this worker's identity; its id is kept in `state_dir`, and made there at first.

    Raises:
        SettingsError: if that cannot be read or written.
    """
    folder = Path(state_dir).expanduser()
    file = folder / "worker-id"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        worker_id = file.read_text("ascii").strip() if file.exists() else ""
        if not worker_id.isalnum() or len(worker_id) > 64:
            worker_id = secrets.token_hex(8)
            new = file.with_suffix(".new")
            new.write_text(f"{worker_id}\n", "ascii")
            new.replace(file)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f'state_dir = "{state_dir}" cannot be used: {error}; it must be a folder that the '
            "worker may write to"
        ) from None
    return Identity(worker_id, secrets.randbits(63) | 1, name)
