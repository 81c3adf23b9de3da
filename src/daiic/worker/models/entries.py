"""Looking into folders of models, at so many entries at most; what cannot be read is said."""

import os
from itertools import islice
from pathlib import Path

from daiic.worker.limits import LIMITS

MAX_ENTRIES = LIMITS.looked_at
"""Of a folder that are looked at."""


def entries(folder: Path, unusable: dict[str, str]) -> list[Path]:
    """Return what is in `folder`; if it cannot be read, `unusable` gets the reason."""
    try:
        with os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry in islice(found, MAX_ENTRIES))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unusable[str(folder)] = unreadable(error)
        return []


def unreadable(error: OSError) -> str:
    """Return why a file or folder is not used."""
    return f"it cannot be read: {error.strerror or type(error).__name__}"
