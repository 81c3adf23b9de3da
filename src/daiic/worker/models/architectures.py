"""Which of transformers' architectures a model's config.json names."""

from pathlib import Path
from typing import Any

from daiic.worker.models.model_json import bad_file, read_object


def config_in(path: Path, name: str) -> dict[str, Any]:
    """Return the config.json of the model `name` in the folder `path`; empty if it has none.

    Raises:
        TaskError: BAD_REQUEST if it is not valid.
    """
    return read_object(path / "config.json", name=name) or {}


def architectures_in(path: Path, name: str) -> list[str]:
    """Return the names of architectures in the config.json of the model `name` in `path`.

    Raises:
        TaskError: BAD_REQUEST if it is not valid.
    """
    architectures = config_in(path, name).get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(a, str) for a in architectures):
        raise bad_file(
            path / "config.json", "has `architectures` that are not a list of names", name
        )
    return architectures
