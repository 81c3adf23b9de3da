"""Reading the JSON that lies beside a model's weights; its author may wish the worker ill."""

import json
from pathlib import Path
from typing import Any

from daiic.bounded_file import read_bounded
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

MAX_CONFIG = LIMITS.config
"""Bytes. Published configurations have some kilobytes, with many labels one megabyte; parsed,
the worst of this size takes 100 MB."""
SHOWN = 200
"""Characters that a message has at most of what a file says."""


def read_json(path: Path, most: int = MAX_CONFIG, name: str = "") -> Any:
    """Return what the JSON file `path` holds, `None` if there is no such file.

    `name` is its model's, for messages; without it they have the folder's.

    Raises:
        TaskError: BAD_REQUEST if it cannot be read, is larger than `most`
            bytes, or is not valid JSON.
    """
    try:
        return json.loads(read_bounded(path, most))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except RecursionError:
        reason = "is nested too deeply"
    except ValueError:
        reason = "is not valid JSON"
    raise bad_file(path, reason, name)


def read_object(path: Path, most: int = MAX_CONFIG, name: str = "") -> dict[str, Any] | None:
    """Return the JSON object in `path`, `None` if there is no such file; errors as `read_json`."""
    value = read_json(path, most, name)
    if value is not None and not isinstance(value, dict):
        raise bad_file(path, "is not a JSON object", name)
    return value


def bad_file(path: Path, reason: str, name: str = "") -> TaskError:
    """Return the refusal of a model because of what is wrong with its file `path`."""
    return TaskError(
        pb.BAD_REQUEST,
        f"{shown(name or path.parent.name)}/{shown(path.name)} {reason}",
        "download the model again, or choose another one",
    )


def shown(value: object) -> str:
    """Return `value`, which a file says, as a message can show it: short, and printable."""
    text = str(value)
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return text if text.isprintable() else ascii(text)[1:-1]
